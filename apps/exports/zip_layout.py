"""A ZIP whose every byte is known before it is sent (PKWARE APPNOTE 6.3): files stored as they are, ZIP64 where needed.

Medical images that are worth it are compressed already; stored files give an archive an exact length, and a broken
transfer goes on where it was. Each file's CRC-32 stands before it, as unpackers that read as it comes want it; it is
taken when its file is reached, and kept.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from datetime import UTC
from typing import Final

from apps.clinics.models import Clinic
from apps.exports.checksums import Checksums
from apps.exports.layout import File, Layout, Piece, digest_of
from apps.storage.models import Blob

_LIMIT_32: Final = 0xFFFFFFFF
_LIMIT_16: Final = 0xFFFF
_VERSION: Final = 20
_VERSION_64: Final = 45
_MADE_BY_UNIX: Final = 3 << 8
_MODE: Final = 0o100644 << 16


def zip_layout(clinic: Clinic, files: Sequence[File]) -> Layout:
    """Return the layout of an archive of these files, in this order; needs the clinic's scope."""
    checksums = Checksums(clinic, [file.content for file in files if isinstance(file.content, Blob)])
    pieces: list[Piece] = []
    entries: list[_Entry] = []
    at = 0
    for file in files:
        entry = _Entry(file, at, checksums)
        entries.append(entry)
        for piece in (Piece(entry.local_bytes, entry.local), Piece(file.size_bytes, file.content)):
            pieces.append(piece)
            at += piece.length
    directory_bytes = sum(entry.central_bytes for entry in entries)
    pieces.extend(Piece(entry.central_bytes, entry.central) for entry in entries)
    end = _end(len(entries), directory_bytes, at)
    pieces.append(Piece(len(end), end))
    return Layout(pieces, digest_of("zip", files), on_end=checksums.keep, held=checksums.held)


class _Entry:
    """What stands about one file: before it, and in the directory at the end."""

    def __init__(self, file: File, offset: int, checksums: Checksums) -> None:
        self.file = file
        self.offset = offset
        self.checksums = checksums
        self.name = file.path.encode("ascii")
        self.is_large = file.size_bytes >= _LIMIT_32
        self.is_far = offset >= _LIMIT_32

    @property
    def local_bytes(self) -> int:
        return 30 + len(self.name) + (20 if self.is_large else 0)

    @property
    def central_bytes(self) -> int:
        return 46 + len(self.name) + len(self._central_extra())

    def local(self) -> bytes:
        """Local file header (4.3.7)."""
        size = _LIMIT_32 if self.is_large else self.file.size_bytes
        extra = struct.pack("<HHQQ", 1, 16, self.file.size_bytes, self.file.size_bytes) if self.is_large else b""
        version = _VERSION_64 if self.is_large else _VERSION
        head = struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\x03\x04", version, 0, 0, *self._dos_time(), self._crc32(), size, size, len(self.name), len(extra),
        )  # fmt: skip
        return head + self.name + extra

    def central(self) -> bytes:
        """Central directory header (4.3.12)."""
        size = _LIMIT_32 if self.is_large else self.file.size_bytes
        offset = _LIMIT_32 if self.is_far else self.offset
        extra = self._central_extra()
        version = _VERSION_64 if extra else _VERSION
        head = struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\x01\x02", _MADE_BY_UNIX | version, version, 0, 0, *self._dos_time(), self._crc32(), size, size,
            len(self.name), len(extra), 0, 0, 0, _MODE, offset,
        )  # fmt: skip
        return head + self.name + extra

    def _central_extra(self) -> bytes:
        values = ([self.file.size_bytes] * 2 if self.is_large else []) + ([self.offset] if self.is_far else [])
        return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""

    def _crc32(self) -> int:
        content = self.file.content
        return zlib.crc32(content) if isinstance(content, bytes) else self.checksums.crc32_of(content)

    def _dos_time(self) -> tuple[int, int]:
        at = self.file.modified_at.astimezone(UTC)
        if at.year < 1980:
            return 0, 0x21
        return at.hour << 11 | at.minute << 5 | at.second // 2, (at.year - 1980) << 9 | at.month << 5 | at.day


def _end(count: int, directory_bytes: int, directory_at: int) -> bytes:
    """Return the end of the central directory (4.3.14 to 4.3.16), in its long form where a number needs it."""
    is_long = count >= _LIMIT_16 or directory_bytes >= _LIMIT_32 or directory_at >= _LIMIT_32
    end = b""
    if is_long:
        made_by = _MADE_BY_UNIX | _VERSION_64
        numbers = (count, count, directory_bytes, directory_at)
        end += struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, made_by, _VERSION_64, 0, 0, *numbers)
        end += struct.pack("<4sIQI", b"PK\x06\x07", 0, directory_at + directory_bytes, 1)
    short_count = min(count, _LIMIT_16)
    return end + struct.pack(
        "<4sHHHHIIH",
        b"PK\x05\x06", 0, 0, short_count, short_count, min(directory_bytes, _LIMIT_32), min(directory_at, _LIMIT_32), 0,
    )  # fmt: skip
