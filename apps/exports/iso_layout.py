"""The image of a disc, ISO 9660 level 1 with Joliet, whose every byte is known before it is sent.

pycdlib lays it out. It is given files that only have a length and writes into a recorder that keeps what describes the
disc and notes where the files go, so that no content is read for it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, cast

from pycdlib import PyCdlib
from pycdlib.dates import DirectoryRecordDate, VolumeDescriptorDate

from apps.exports.layout import File, Layout, Piece, Zeros, digest_of

SECTOR_BYTES: Final = 2048
_COPY_BYTES: Final = 1 << 24
_FIRST_DESCRIPTOR: Final = 16
_LAST_DESCRIPTOR: Final = 255
# Where a volume descriptor holds creation, modification and effective date (ECMA-119 8.4.26 to 8.4.29).
_DATES_AT: Final = (813, 830, 864)


def iso_layout(files: Sequence[File], *, label: str, made_at: datetime) -> Layout:
    """Return the layout of a disc with these files; names are capital letters, digits and underscores, 8.3 long.

    `label` names the volume (at most 16 capital letters, digits, underscores), `made_at` dates it: not the moment of
    asking, so that the same files give the same disc.
    """
    disc = PyCdlib()
    disc.new(interchange_level=1, joliet=3, vol_ident=label, app_ident_str="VIEWBOX")
    try:
        folders: set[str] = set()
        for file in files:
            _add_folders(disc, folders, file.path)
            extension = "" if "." in file.path.rpartition("/")[2] else "."
            disc.add_fp(
                cast("BinaryIO", _Unread(file)),
                file.size_bytes,
                f"/{file.path}{extension};1",
                joliet_path=f"/{file.path}",
            )
        _date(disc, folders, made_at)
        recorder = _Recorder()
        disc.write_fp(cast("BinaryIO", recorder), blocksize=_COPY_BYTES)
    finally:
        disc.close()
    return Layout(list(recorder.pieces(made_at)), digest_of("iso", files))


def _add_folders(disc: PyCdlib, folders: set[str], path: str) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        folder = "/" + "/".join(parts[:depth])
        if folder not in folders:
            disc.add_directory(folder, joliet_path=folder)
            folders.add(folder)


def _date(disc: PyCdlib, folders: set[str], made_at: datetime) -> None:
    """Give every directory record the same date."""
    date = DirectoryRecordDate()
    date.new(made_at.timestamp())
    for descriptor in (disc.pvd, disc.joliet_vd):
        if descriptor is not None:
            descriptor.root_dir_record.date = date
    for folder in ("/", *folders):
        for record in disc.list_children(iso_path=folder):
            record.date = date
        for record in disc.list_children(joliet_path=folder):
            record.date = date


class _Unread(io.RawIOBase):
    """Stands for a file that is not read: as long as it is, and empty of meaning."""

    def __init__(self, file: File) -> None:
        super().__init__()
        self.file = file
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.file.size_bytes}[whence]
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        left = self.file.size_bytes - self.position
        length = left if size < 0 else min(size, left)
        placeholder = _Placeholder(length)
        placeholder.file, placeholder.offset = self.file, self.position
        self.position += length
        return placeholder


class _Placeholder(bytes):
    """So many bytes of a file from an offset on; what they are is found out when the disc is sent."""

    file: File
    offset: int


class _Recorder(io.RawIOBase):
    """What the disc is written into: keeps descriptions, and of files only where they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.position = self.length = 0
        self.described: dict[int, bytes] = {}
        self.begins: dict[int, File] = {}

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = base + offset
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.length = max(self.length, self.position if size is None else size)
        return self.length

    def write(self, data: Any) -> int:
        if isinstance(data, _Placeholder):
            if data.offset == 0 and len(data):
                self.begins[self.position] = data.file
        elif len(data):
            self.described[self.position] = bytes(data)
        self.position += len(data)
        self.length = max(self.length, self.position)
        return len(data)

    def pieces(self, made_at: datetime) -> Iterator[Piece]:
        """Yield what stands on the disc, in order."""
        described = self._joined()
        self._date_descriptors(described, made_at)
        at = 0
        for start in sorted({*described, *self.begins}):
            if start > at:
                yield Piece(start - at, Zeros())
            if start in self.begins:
                file = self.begins[start]
                yield Piece(file.size_bytes, file.content)
                at = start + file.size_bytes
            else:
                yield Piece(len(described[start]), bytes(described[start]))
                at = start + len(described[start])
        if self.length > at:
            yield Piece(self.length - at, Zeros())

    def _joined(self) -> dict[int, bytearray]:
        """Return what was described with neighbours joined; a later writing wins over an earlier one."""
        joined: dict[int, bytearray] = {}
        begins, ends = -1, -1
        for start, data in sorted(self.described.items()):
            if start > ends or begins < 0:
                begins, joined[start] = start, bytearray(data)
            else:
                joined[begins][start - begins : start - begins + len(data)] = data
            ends = begins + len(joined[begins])
        return joined

    def _date_descriptors(self, described: dict[int, bytearray], made_at: datetime) -> None:
        date = VolumeDescriptorDate()
        date.new(made_at.astimezone(UTC).timestamp())
        wanted = date.record()
        for start, data in described.items():
            for offset in range(0, len(data), SECTOR_BYTES):
                number = (start + offset) // SECTOR_BYTES
                is_descriptor = number >= _FIRST_DESCRIPTOR and data[offset + 1 : offset + 6] == b"CD001"
                if is_descriptor and data[offset] != _LAST_DESCRIPTOR and len(data) >= offset + SECTOR_BYTES:
                    for place in _DATES_AT:
                        struct.pack_into("17s", data, offset + place, wanted)
