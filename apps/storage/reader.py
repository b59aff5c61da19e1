"""Blobs on their way out: any range, decrypted segment by segment, nothing given out that is not authentic."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from apps.storage.crypto import LAYOUT, Buffer
from apps.storage.sources import Sources

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_READ_AHEAD_BYTES = 1024 * 1024


class _DecryptedFile(io.RawIOBase):
    """The plaintext as a raw file. Keeps the segments it decrypted last, and reads ahead when read in order."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.sources = sources
        self._position = 0
        self._window: Buffer = b""
        self._window_start = 0
        self._read_ahead_bytes = LAYOUT.room_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.sources.plaintext_bytes}[whence]
        if base + offset < 0:
            raise ValueError("There is nothing before the beginning.")
        self._position = base + offset
        return self._position

    def readinto(self, target: "WriteableBuffer", /) -> int:
        view = memoryview(target).cast("B")
        if self._position >= self.sources.plaintext_bytes:
            return 0
        window_end = self._window_start + len(self._window)
        if not self._window_start <= self._position < window_end:
            self._load_window(is_next=self._position == window_end, wanted_bytes=len(view))
        # Up to the end of the window: the next read then begins with a segment.
        skip = self._position - self._window_start
        data = memoryview(self._window)[skip : skip + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Return the rest; the base class would ask for 8 kB at a time."""
        rest = bytearray(max(0, self.sources.plaintext_bytes - self._position))
        view = memoryview(rest)
        while view:
            view = view[self.readinto(view) :]
        return bytes(rest)

    def _load_window(self, *, is_next: bool, wanted_bytes: int) -> None:
        self._read_ahead_bytes = min(2 * self._read_ahead_bytes, MAX_READ_AHEAD_BYTES) if is_next else LAYOUT.room_bytes
        length = max(self._read_ahead_bytes if is_next else 1, min(wanted_bytes, MAX_READ_AHEAD_BYTES))
        self._window = b""
        start, length = self.sources.aligned(self._position, length)
        self._window, self._window_start = self.sources.read(start, length), start

    def close(self) -> None:
        if not self.closed:
            self._window = b""
            self.sources.close()
        super().close()


class BlobReader(io.BufferedReader):
    """A blob's plaintext as a seekable binary file; one for each request and thread.

    It needs neither the database nor the clinic's scope any more. Every method that reads asks the other places when
    one fails; it raises CorruptBlobError for stored bytes that were touched, and BlobMissingError or
    PlaceUnavailableError when they cannot be had, only if no place gives them.
    """

    def __init__(self, sources: Sources) -> None:
        super().__init__(_DecryptedFile(sources), LAYOUT.segment_bytes)
        self._sources = sources
        self.size = sources.plaintext_bytes

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` plaintext bytes from ``offset``, with one ranged read; the position stays."""
        return bytes(self._sources.read(offset, length))

    def verify_end(self) -> None:
        """Check the last segment, which says that the stream is whole."""
        self._sources.verify_end()

    def iterate(self, offset: int, length: int, chunk_bytes: int, window_bytes: int) -> Iterator[bytes]:
        """Yield a range in chunks of at most ``chunk_bytes``, asking the place for ``window_bytes`` at a time."""
        end = min(offset + length, self.size)
        while offset < end:
            start, count = self._sources.aligned(offset, min(window_bytes, end - offset))
            window = self._sources.read(start, count)[offset - start : end - start]
            offset += len(window)
            for at in range(0, len(window), chunk_bytes):
                yield bytes(window[at : at + chunk_bytes])
