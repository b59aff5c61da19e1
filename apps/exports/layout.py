"""A file of any size that is laid out before it is sent: its length is known, and any range of it can be made.

Memory stays flat and nothing is written down: a layout names what stands where, and reads it when its turn comes. The
same content gives the same bytes, so that a transfer that broke off goes on where it was (RFC 9110 section 14).
"""

from __future__ import annotations

import bisect
import datetime
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.models import Blob
from apps.storage.services import iterate_blob

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class File:
    """One file to be taken along: its path with slashes, when it was stored, what is in it."""

    path: str
    modified_at: datetime.datetime
    content: bytes | Blob

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes

    @property
    def sha256(self) -> bytes:
        """The digest of its content."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).digest()
        return bytes(self.content.sha256)


@dataclass(frozen=True)
class Zeros:
    """A stretch of zeros."""


# Called with the offset from which on the bytes are wanted; `Callable` makes short pieces, such as headers, when asked.
Source = bytes | Blob | Zeros | Callable[[], bytes]


@dataclass(frozen=True)
class Piece:
    """So many bytes from one source."""

    length: int
    source: Source


@dataclass(frozen=True)
class Layout:
    """The whole file: pieces in order, and a name for exactly these bytes (a strong ETag)."""

    pieces: Sequence[Piece]
    digest: str
    # Called once when a reading ends, however it ends.
    on_end: Callable[[], None] | None = None
    # Gives a blob's content when it is at hand already.
    held: Callable[[Blob], bytes | None] | None = None
    _starts: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._starts.extend(accumulate((piece.length for piece in self.pieces), initial=0))

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        return self._starts[-1]

    def iterate(self, clinic: Clinic, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Return the bytes from `start` up to `stop`, read when they are asked for.

        The clinic's scope need not be open then. The first chunk is read before this returns, so that a fault still
        becomes a status code; raises what `storage.services.open_blob` raises. Damage further on ends the stream early,
        so that nobody takes it for whole.
        """
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        chunks = self._chunks(clinic, start, stop)
        first = next(chunks, b"")
        return _with_first(first, chunks)

    def _chunks(self, clinic: Clinic, start: int, stop: int) -> Iterator[bytes]:
        try:
            number = max(0, bisect.bisect_right(self._starts, start) - 1)
            at = start
            while at < stop and number < len(self.pieces):
                piece, begins = self.pieces[number], self._starts[number]
                length = min(piece.length - (at - begins), stop - at)
                if length > 0:
                    yield from self._read(clinic, piece, at - begins, length)
                    at += length
                number += 1
        finally:
            if self.on_end is not None:
                self.on_end()

    def _read(self, clinic: Clinic, piece: Piece, offset: int, length: int) -> Iterator[bytes]:
        source = piece.source
        if isinstance(source, Blob):
            content = self.held(source) if self.held is not None else None
            if content is None:
                # Keys are unwrapped in the clinic's scope, which the request has left by now.
                with clinic_scope(clinic):
                    chunks = iterate_blob(source, offset, length, chunk_bytes=CHUNK_BYTES)
                yield from chunks
                return
        elif isinstance(source, Zeros):
            yield from (bytes(min(CHUNK_BYTES, length - done)) for done in range(0, length, CHUNK_BYTES))
            return
        else:
            content = source if isinstance(source, bytes) else source()
        yield content[offset : offset + length]


def _with_first(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def digest_of(kind: str, files: Sequence[File]) -> str:
    """Return what names these files in this kind of container: the same for the same bytes only."""
    digest = hashlib.sha256(f"viewbox export 1 {kind}\n".encode())
    for file in files:
        digest.update(f"{file.path}\n{file.modified_at.timestamp():.0f}\n".encode() + file.sha256)
    return digest.hexdigest()[:40]
