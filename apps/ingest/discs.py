"""Images of discs (ECMA-119, that is ISO 9660, with Joliet and Rock Ridge names), read where they lie.

Directories are walked with every number in them taken for a claim: a place outside the image, a directory met twice, a
file over a file is refused or left out, and nothing is held but the list of files. (The ready-made reader builds the
whole tree from whatever the image says, in memory and without limits, before anything can be asked of it.)
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

from django.utils.translation import gettext_lazy as _

from apps.ingest.archives import CHUNK_BYTES, ArchiveLimits, Member
from apps.ingest.errors import ArchiveError, MemberError
from apps.ingest.naming import display_name

SECTOR_BYTES: Final = 2048
_FIRST_DESCRIPTOR: Final = 16
_MAX_DESCRIPTORS: Final = 64
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
# ECMA-119 8.5.6 and the Joliet specification: UCS-2 level 1, 2 and 3.
_JOLIET_ESCAPES: Final = (b"%/@", b"%/C", b"%/E")
_IS_DIRECTORY, _IS_ASSOCIATED, _HAS_MORE_EXTENTS = 0x02, 0x04, 0x80
_RECORD_BYTES: Final = 33
_MAX_DEPTH: Final = 64
_MAX_CONTINUATIONS: Final = 8
_LINKS: Final = frozenset({b"SL", b"CL", b"PN"})


@dataclass(frozen=True)
class _Record:
    """One directory record (ECMA-119 9.1): what it claims."""

    name: bytes
    flags: int
    first_block: int
    size_bytes: int
    system_use: bytes

    @property
    def is_directory(self) -> bool:
        return bool(self.flags & _IS_DIRECTORY)


@dataclass
class _File:
    """A file of the disc: its name for people and the (offset, length) of each of its extents."""

    name: str
    extents: list[tuple[int, int]] = field(default_factory=list)
    problem: MemberError | None = None

    @property
    def size_bytes(self) -> int:
        return sum(length for _offset, length in self.extents)


class Disc:
    """An opened image of a disc whose directories are within the limits.

    `file` is binary and seekable and stays the caller's. Raises ArchiveError: disc-damaged, disc-unsupported,
    archive-too-many-members, archive-expands, archive-overlap.
    """

    def __init__(self, file: IO[bytes], limits: ArchiveLimits | None = None) -> None:
        self._limits = limits or ArchiveLimits()
        self._file = file
        self._size_bytes = file.seek(0, io.SEEK_END)
        self._directory_bytes = 0
        self._block_bytes, root, self._is_joliet = self._find_root()
        # The first record of the root says whether the disc has names of Rock Ridge (SUSP 5.3).
        self._skip, self._is_rock_ridge = (0, False) if self._is_joliet else self._rock_ridge(root)
        self._files = list(self._walk(root))
        self._check()
        self.members = [
            Member(position, display_name(file.name), file.size_bytes, file.problem)
            for position, file in enumerate(self._files)
        ]

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield the member's bytes; raises MemberError when the image ends before they do."""
        if member.problem is not None:
            raise member.problem
        for offset, length in self._files[member.position].extents:
            self._file.seek(offset)
            left = length
            while left:
                chunk = self._file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise _cut_off()
                left -= len(chunk)
                yield chunk

    def _find_root(self) -> tuple[int, _Record, bool]:
        """Return block size, root directory and whether its names are Joliet's: these, where there are any."""
        primary: tuple[int, _Record, bool] | None = None
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _MAX_DESCRIPTORS):
            descriptor = self._pread(number * SECTOR_BYTES, SECTOR_BYTES)
            if len(descriptor) < SECTOR_BYTES and descriptor:
                raise _damaged()
            if descriptor[1:6] != b"CD001" or descriptor[0] == _TERMINATOR:
                break
            if descriptor[0] not in (_PRIMARY, _SUPPLEMENTARY):
                continue
            (block_bytes,) = struct.unpack_from("<H", descriptor, 128)
            root = _record(descriptor[156:190])
            if block_bytes not in (512, 1024, 2048) or root is None or not root.is_directory:
                raise _damaged()
            if descriptor[0] == _PRIMARY:
                primary = primary or (block_bytes, root, False)
            elif descriptor[88:91] in _JOLIET_ESCAPES:
                return block_bytes, root, True
        if primary is None:
            raise ArchiveError(
                "disc-unsupported", _("This image of a disc is of a kind that cannot be opened. Please send its files.")
            )
        return primary

    def _rock_ridge(self, root: _Record) -> tuple[int, bool]:
        first = next(self._records(root), None)
        fields = first.system_use if first else b""
        if fields[:2] == b"SP" and len(fields) >= 7 and fields[4:6] == b"\xbe\xef":
            return fields[6], True
        return 0, False

    def _walk(self, root: _Record) -> Iterator[_File]:
        """Yield the files of all directories, each directory once; an unfinished list of extents is damage."""
        waiting: list[tuple[_Record, str, int]] = [(root, "", 0)]
        seen = {root.first_block}
        count = 0
        while waiting:
            directory, path, depth = waiting.pop()
            open_file: _File | None = None
            below: list[tuple[_Record, str, int]] = []
            for record in self._records(directory):
                if record.name in (b"\0", b"\1") or record.flags & _IS_ASSOCIATED:
                    continue
                count += 1
                if count > self._limits.members:
                    raise ArchiveError(
                        "archive-too-many-members", _("This disc has more files than are taken at once.")
                    )
                name, is_link = self._name_of(record)
                if record.is_directory:
                    # A second way to the same directory is a loop, or the same files once more.
                    if depth < _MAX_DEPTH and record.first_block not in seen:
                        seen.add(record.first_block)
                        below.append((record, f"{path}{name}/", depth + 1))
                    continue
                if open_file is None:
                    open_file = _File(path + name)
                    if is_link:
                        open_file.problem = MemberError(
                            "archive-special-file", _("This entry is a link or a device, not a file.")
                        )
                self._add_extent(open_file, record)
                if not record.flags & _HAS_MORE_EXTENTS:
                    yield open_file
                    open_file = None
            if open_file is not None:
                raise _damaged()
            waiting.extend(reversed(below))

    def _add_extent(self, file: _File, record: _Record) -> None:
        offset = record.first_block * self._block_bytes
        if offset + record.size_bytes > self._size_bytes:
            file.problem = file.problem or _cut_off()
        else:
            file.extents.append((offset, record.size_bytes))

    def _records(self, directory: _Record) -> Iterator[_Record]:
        """Yield a directory's records; none crosses a sector (ECMA-119 6.8.1.1)."""
        self._directory_bytes += directory.size_bytes
        if self._directory_bytes > self._limits.directory_bytes:
            raise ArchiveError("archive-too-many-members", _("This disc has more files than are taken at once."))
        start = directory.first_block * self._block_bytes
        for offset in range(0, directory.size_bytes, SECTOR_BYTES):
            length = min(SECTOR_BYTES, directory.size_bytes - offset)
            sector = self._pread(start + offset, length)
            if len(sector) < length:
                raise _damaged()
            position = 0
            while position < length and (record_bytes := sector[position]):
                record = _record(sector[position : position + record_bytes])
                if record is None:
                    raise _damaged()
                yield record
                position += record_bytes

    def _name_of(self, record: _Record) -> tuple[str, bool]:
        """Return what a file is called and whether it is no file at all (a symbolic link, a device)."""
        if self._is_joliet:
            return record.name.decode("utf-16-be", "replace").partition(";")[0], False
        name, is_link = b"", False
        if self._is_rock_ridge:
            for kind, value in self._system_fields(record):
                # (Two flags stand for "." and "..", which have no name.)
                if kind == b"NM" and value and not value[0] & 0x06:
                    name += value[1:]
                is_link = is_link or kind in _LINKS
        if name:
            return name[:1024].decode("utf-8", "replace"), is_link
        plain = record.name.partition(b";")[0]
        return plain.removesuffix(b".").decode("latin-1"), is_link

    def _system_fields(self, record: _Record) -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields of the system use area, followed where it goes on elsewhere (SUSP 5.1)."""
        area = record.system_use[self._skip :]
        for _round in range(_MAX_CONTINUATIONS):
            next_area = b""
            while len(area) >= 4 and 4 <= area[2] <= len(area):
                kind, value = area[:2], area[4 : area[2]]
                if kind == b"ST":
                    break
                if kind == b"CE" and len(value) >= 24:
                    block, offset, length = (struct.unpack_from("<I", value, at)[0] for at in (0, 8, 16))
                    if length <= SECTOR_BYTES:
                        next_area = self._pread(block * self._block_bytes + offset, length)
                else:
                    yield kind, value
                area = area[area[2] :]
            if not next_area:
                return
            area = next_area

    def _check(self) -> None:
        if any(file.size_bytes > self._limits.member_bytes for file in self._files):
            raise ArchiveError("archive-expands", _("A file of this disc is larger than is taken at once."))
        # Nothing on a disc is compressed: what its files claim together has room in the image, or lies in one place
        # (the same file listed twice does, and then it is the same file).
        places = {extent for file in self._files for extent in file.extents if extent[1]}
        end = 0
        for offset, length in sorted(places):
            if offset < end:
                raise ArchiveError("archive-overlap", _("The files of this disc overlap. It is not opened."))
            end = offset + length
        total = sum(file.size_bytes for file in self._files)
        if total > min(self._limits.total_bytes, 2 * self._size_bytes):
            raise ArchiveError("archive-expands", _("This disc expands to more than is taken at once."))

    def _pread(self, offset: int, length: int) -> bytes:
        if offset >= self._size_bytes:
            return b""
        self._file.seek(offset)
        return self._file.read(length)


def _record(data: bytes) -> _Record | None:
    """Return a directory record, None when it is none."""
    if len(data) <= _RECORD_BYTES or data[0] != len(data):
        return None
    name_bytes = data[32]
    end = _RECORD_BYTES + name_bytes
    if not name_bytes or end > len(data):
        return None
    extended = data[1]
    first_block, size_bytes = struct.unpack_from("<I", data, 2)[0], struct.unpack_from("<I", data, 10)[0]
    system_use = data[end + (1 - name_bytes % 2) :]
    return _Record(data[_RECORD_BYTES:end], data[25], first_block + extended, size_bytes, system_use)


def _damaged() -> ArchiveError:
    return ArchiveError("disc-damaged", _("This image of a disc is damaged and cannot be opened."))


def _cut_off() -> MemberError:
    return MemberError("archive-member-damaged", _("This file lies outside the image: the image is not complete."))
