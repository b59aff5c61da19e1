"""An archive that `zip_layout` made, read as it comes: names and contents, in order, with flat memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

_LOCAL: Final = b"PK\x03\x04"
_LIMIT_32: Final = 0xFFFFFFFF


def members_of(chunks: Iterable[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each file's path and its content, which is there until the next one is asked for.

    Files are stored as they are and their sizes stand before them (APPNOTE 4.3.7). Raises ValueError where the archive
    breaks off or is of another kind, and what `chunks` raises; reads to the end.
    """
    source = _Source(chunks)
    while (signature := source.take(4)) == _LOCAL:
        _version, flags, method, *_skipped, size, name_length, extra_length = struct.unpack(
            "<HHHHHIIIHH", source.take(26)
        )
        name, extra = source.take(name_length).decode("ascii"), source.take(extra_length)
        if flags or method:
            raise ValueError("Not an archive of stored files.")
        if size == _LIMIT_32:
            (size,) = struct.unpack_from("<Q", extra, 4)
        content = source.pieces(size)
        yield name, content
        for _piece in content:
            pass
    if not signature.startswith(b"PK"):
        raise ValueError("The archive breaks off.")
    source.drain()


class _Source:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def take(self, length: int) -> bytes:
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[bytes]:
        while length:
            while not self._left:
                try:
                    self._left = memoryview(next(self._chunks))
                except StopIteration:
                    raise ValueError("The archive breaks off.") from None
            piece, self._left = self._left[:length], self._left[length:]
            length -= len(piece)
            yield bytes(piece)

    def drain(self) -> None:
        for _chunk in self._chunks:
            pass
