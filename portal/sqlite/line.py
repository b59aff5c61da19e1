"""The line in which processes wait to write to one SQLite database.

Two locks on files beside the database, which the system lets go of when a process dies: who holds the first is next,
who holds the second writes. A process that has just written finds the first taken by the one that waits, so that it
cannot come again before it, however many threads it has.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

_ASK_AGAIN_SECONDS: Final = 0.001

# Of each database, the descriptors of both files.
_files: dict[str, tuple[int, int]] = {}


def _forget() -> None:
    # A lock belongs to the open file, which parent and child would share.
    for descriptors in _files.values():
        for descriptor in descriptors:
            os.close(descriptor)
    _files.clear()


os.register_at_fork(after_in_child=_forget)


def stand(database: str, seconds: float) -> bool:
    """Wait for the right to write, one thread of a process at a time; return whether it came within `seconds`."""
    first, second = _files.get(database) or _opened(database)
    deadline = time.monotonic() + seconds
    if not _locks(first, deadline):
        return False
    try:
        return _locks(second, deadline)
    finally:
        fcntl.flock(first, fcntl.LOCK_UN)


def leave(database: str) -> None:
    """Let the next one write."""
    if database in _files:
        fcntl.flock(_files[database][1], fcntl.LOCK_UN)


def _opened(database: str) -> tuple[int, int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    _files[database] = (os.open(f"{database}-next", flags, 0o600), os.open(f"{database}-writer", flags, 0o600))
    return _files[database]


def _locks(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_ASK_AGAIN_SECONDS)
        else:
            return True
