"""Processes that end with the one that started them, even when that one is killed (Linux, prctl(2))."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Let the system kill this process when its parent dies; called right after the fork.

    An orphan would hold the port or the memory that the parent's successor needs. What it was doing is found again
    through its job's lease, or sent again by the client.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)  # the parent died before the system was told
