"""A stranger's file as pydicom may read it: nothing beyond its end, and no more than is sensible."""

import io
from typing import BinaryIO, Final

from .errors import Code, RejectedError

MAX_ELEMENTS: Final = 100_000
MAX_HEADER_BYTES: Final = 128 << 20
"""What may be read into memory of one file; large binary elements and pixels are skipped and do not count."""
_HEAD_BYTES: Final = 8
"""Tag and length of an element or item: what pydicom asks for first, and where a cut file ends in the middle."""


class BoundedFile(io.RawIOBase):
    """A file whose reads are clipped to what is there (a claimed length allocates nothing), counted and added up."""

    name = ""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self._at = file.tell()
        self._reads = 0
        self._bytes = 0
        self.size = size

    def read(self, size: int = -1) -> bytes:
        left = max(self.size - self._at, 0)
        is_head = size == _HEAD_BYTES
        if size < 0 or size > left:
            size = left
        self._reads += 1
        if self._reads > 3 * MAX_ELEMENTS:
            raise RejectedError(Code.TOO_MANY_ELEMENTS)
        self._bytes += size
        if self._bytes > MAX_HEADER_BYTES:
            raise RejectedError(Code.TOO_LARGE)
        data = self._file.read(size)
        self._at += len(data)
        if is_head and size and len(data) < _HEAD_BYTES and data.strip(b"\0"):
            raise RejectedError(Code.TRUNCATED)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 1:
            offset += self._at
        elif whence == 2:
            offset += self.size
        if offset != self._at:
            self._at = self._file.seek(offset)
        return self._at

    def resume(self, offset: int) -> None:
        """Go to ``offset`` although others have moved the file underneath."""
        self._at = self._file.seek(offset)

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
