"""ZIP archives, read from a seekable file member by member; nothing is unpacked on a disk.

The directory is checked before the first member is opened, and what it promises is never believed: no member yields
more than it declared, and what all declared together was within the limits (CONTROLS UPL-03; PKWARE APPNOTE 6.3).
"""

from __future__ import annotations

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from django.utils.translation import gettext_lazy as _

from apps.ingest.errors import ArchiveError, MemberError
from apps.ingest.naming import display_name

CHUNK_BYTES: Final = 1 << 20

# What Python's reader raises on broken input, besides its own BadZipFile.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    LookupError,
)
_LOCAL_HEADER_BYTES: Final = 30
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_FLAG_ENCRYPTED: Final = 0x1
_FLAG_STRONG_ENCRYPTION: Final = 0x40
_UNIX: Final = 3


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may promise. Ratios count above a harmless size: black images compress well."""

    members: int = 20_000
    directory_bytes: int = 16 << 20
    member_bytes: int = 2 << 30
    total_bytes: int = 16 << 30
    name_length: int = 1024
    member_ratio: int = 200
    member_ratio_above_bytes: int = 8 << 20
    total_ratio: int = 100
    total_ratio_above_bytes: int = 64 << 20


@dataclass(frozen=True)
class Member:
    """One file of an archive: its place in the directory, its name for people, and why it cannot be read, if so."""

    position: int
    name: str
    size_bytes: int
    problem: MemberError | None = None


class _Bounded:
    """A file that refuses to hand out more at once than an honest directory holds: zipfile reads it in one piece."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self.limit: int | None = limit

    def read(self, size: int = -1) -> bytes:
        if self.limit is None:
            return self._file.read(size)
        data = self._file.read(self.limit + 1 if size is None or size < 0 else min(size, self.limit + 1))
        if len(data) > self.limit:
            raise ArchiveError("archive-too-many-members", _("This ZIP file has more entries than are taken at once."))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except ValueError as error:
            # zipfile looks for records before the beginning of a tiny archive, and expects what a disk file says.
            raise OSError(errno.EINVAL, "before the beginning") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Archive:
    """An opened ZIP archive whose directory is within the limits.

    `file` is binary and seekable and stays the caller's. Raises ArchiveError: archive-damaged, archive-encrypted,
    archive-too-many-members, archive-overlap, archive-expands (total or one member), archive-member-too-large.
    """

    def __init__(self, file: IO[bytes], limits: ArchiveLimits | None = None) -> None:
        self._limits = limits or ArchiveLimits()
        bounded = _Bounded(file, self._limits.directory_bytes)
        try:
            self._zip = zipfile.ZipFile(bounded)
        except _BROKEN as error:
            raise ArchiveError("archive-damaged", _("This ZIP file is damaged and cannot be opened.")) from error
        bounded.limit = None
        self._infos = self._zip.infolist()
        self._check_directory()
        self.members = [
            Member(position, display_name(info.filename), info.file_size, self._problem_of(info))
            for position, info in enumerate(self._infos)
            if not info.is_dir()
        ]

    def read(self, member: Member) -> Iterator[bytes]:
        """Yield the member's bytes, never more than it declared; raises MemberError when it is not what it declared."""
        if member.problem is not None:
            raise member.problem
        info = self._infos[member.position]
        count = 0
        try:
            with self._zip.open(info) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    count += len(chunk)
                    yield chunk
        except _BROKEN as error:
            raise _damaged() from error
        if count != info.file_size:
            raise _damaged()

    def _check_directory(self) -> None:
        infos, limits = self._infos, self._limits
        if len(infos) > limits.members:
            raise ArchiveError("archive-too-many-members", _("This ZIP file has more entries than are taken at once."))
        if any(info.flag_bits & (_FLAG_ENCRYPTED | _FLAG_STRONG_ENCRYPTION) for info in infos):
            raise ArchiveError(
                "archive-encrypted", _("This ZIP file is protected by a password. Please upload it without one.")
            )
        if any(info.file_size < 0 or info.compress_size < 0 or info.header_offset < 0 for info in infos):
            raise ArchiveError("archive-damaged", _("This ZIP file is damaged and cannot be opened."))
        total = sum(info.file_size for info in infos)
        packed = sum(info.compress_size for info in infos)
        if total > limits.total_bytes or any(info.file_size > limits.member_bytes for info in infos):
            raise ArchiveError("archive-expands", _("This ZIP file expands to more than is taken at once."))
        if total > limits.total_ratio_above_bytes and total > limits.total_ratio * max(packed, 1):
            raise ArchiveError("archive-expands", _("This ZIP file expands to more than is taken at once."))
        for info in infos:
            large = info.file_size > limits.member_ratio_above_bytes
            if large and info.file_size > limits.member_ratio * max(info.compress_size, 1):
                raise ArchiveError("archive-expands", _("This ZIP file expands to more than is taken at once."))
        self._check_overlap()

    def _check_overlap(self) -> None:
        # Each member's header and data must end before the next one begins: shared data is how small files expand
        # without bound (Fifield, "A better zip bomb").
        spans = sorted(
            (info.header_offset, info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size) for info in self._infos
        )
        ends = [start for start, _end in spans[1:]] + [self._zip.start_dir]
        if any(end > limit for (_start, end), limit in zip(spans, ends, strict=bool(spans))):
            raise ArchiveError("archive-overlap", _("The entries of this ZIP file overlap. It is not opened."))

    def _problem_of(self, info: zipfile.ZipInfo) -> MemberError | None:
        if len(info.filename) > self._limits.name_length:
            return MemberError("archive-member-name", _("The name of this entry is too long."))
        file_type = stat.S_IFMT(info.external_attr >> 16)
        if info.create_system == _UNIX and file_type not in (0, stat.S_IFREG):
            return MemberError("archive-special-file", _("This entry is a link or a device, not a file."))
        if info.compress_type not in _METHODS:
            return MemberError(
                "archive-method", _("This entry is packed in a way that is not supported. Please pack it as plain ZIP.")
            )
        return None


def _damaged() -> MemberError:
    return MemberError("archive-member-damaged", _("This entry of the ZIP file is damaged."))
