"""The age format (https://age-encryption.org/v1) as streams: memory stays flat, and nothing plain touches a disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterable
from threading import Thread
from time import sleep
from typing import Any, Final

import pyrage
from pyrage import passphrase, x25519

CHUNK_BYTES: Final = 1 << 18
_TRIES: Final = 20
_PAUSE: Final = 0.1
"""Seconds between two tries."""


class NotOpenedError(Exception):
    """What was sealed is damaged, or sealed for somebody else."""


class TooCostlyError(NotOpenedError):
    """Trying a passphrase takes longer here than the library puts up with."""


def new_identity() -> str:
    """Return a new identity (the secret half) as age writes it."""
    return str(x25519.Identity.generate())


def recipient_of(identity: str) -> str:
    """Return the public half of an identity."""
    return str(x25519.Identity.from_str(identity).to_public())


def seal_with(passphrase_: str, content: bytes) -> bytes:
    """Return a small content sealed with a passphrase (scrypt, made to take a second or more)."""
    return passphrase.encrypt(content, passphrase_)


def open_with(passphrase_: str, sealed: bytes) -> bytes:
    """Return what was sealed with a passphrase; raises NotOpenedError, of which TooCostlyError.

    The library times a moment of work, and refuses before it begins what would take sixteen times as long as what it
    would seal with now. Where the processors are busy that moment says nothing: it is asked again.
    """
    for _ in range(_TRIES):
        try:
            return passphrase.decrypt(sealed, passphrase_)
        except (pyrage.DecryptError, OSError) as error:
            if "work parameter" not in str(error):
                raise NotOpenedError from None
            sleep(_PAUSE)
    raise TooCostlyError


def seal(chunks: Iterable[bytes], recipient: str, write: Callable[[bytes], Any]) -> None:
    """Seal what `chunks` gives for a recipient; raises what `chunks` and `write` raise."""
    source, sink = _Source(chunks), _Sink(write)
    try:
        pyrage.encrypt_io(source, sink, [x25519.Recipient.from_str(recipient)])
    except (pyrage.EncryptError, OSError):
        # The library keeps of an error only its text.
        if error := source.error or sink.error:
            raise error from None
        raise


def unseal(chunks: Iterable[bytes], identity: str) -> Generator[bytes]:
    """Yield the plain content; raises NotOpenedError, also at the end, and what `chunks` raises (in a thread)."""
    source = _Source(chunks)
    failed: list[BaseException] = []
    read_end, write_end = os.pipe()

    def work() -> None:
        try:
            with open(write_end, "wb", buffering=0) as out:
                pyrage.decrypt_io(source, _Sink(out.write), [x25519.Identity.from_str(identity)])
        except BaseException as error:
            failed.append(source.error or error)

    thread = Thread(target=work, daemon=True)
    with open(read_end, "rb") as pipe:
        thread.start()
        try:
            while piece := pipe.read1(CHUNK_BYTES):
                yield piece
        finally:
            # Whoever stops early lets the thread find nobody listening.
            pipe.close()
            thread.join()
    if failed:
        if isinstance(failed[0], (pyrage.DecryptError, OSError)) and failed[0] is not source.error:
            raise NotOpenedError from None
        raise failed[0]


class _Source(io.BufferedIOBase):
    """An iterator of bytes as a file to read from, which remembers why it broke off."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.error: BaseException | None = None
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            while not self._left:
                self._left = memoryview(next(self.chunks))
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        length = len(self._left) if size is None or size < 0 else size
        piece, self._left = bytes(self._left[:length]), self._left[length:]
        return piece


class _Sink(io.BufferedIOBase):
    """A function that takes bytes as a file to write to, which remembers why it broke off."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write = write
        self.error: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(bytes(data))
        try:
            done = self._write(bytes(view))
        except BaseException as error:
            self.error = error
            raise
        # A pipe says how much it took, and may take less.
        return done if isinstance(done, int) else len(view)
