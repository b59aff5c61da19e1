"""Folders, ZIP files and images of discs of this machine as a stream of files, for migrating an archive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from apps.ingest.archives import Archive, Member
from apps.ingest.containers import open_archive
from apps.ingest.discs import Disc
from apps.ingest.errors import ArchiveError, IngestError, TooLargeError
from apps.ingest.recognise import recognise_file

CHUNK_BYTES: Final = 1 << 20


class UnreadableError(IngestError):
    """A file of this machine that cannot be read."""

    code = "unreadable"
    message = _("The file cannot be read.")


@dataclass(frozen=True)
class Source:
    """One file to be imported: where it is, what to call it, its bytes. Reading them, once, may raise IngestError."""

    path: str
    name: str
    chunks: Iterable[bytes]


def count_files(paths: Iterable[Path]) -> int:
    """Return how many files there are, for a progress bar; what is inside archives is not counted."""
    return sum(1 for _file in _walk(paths))


def sources(paths: Iterable[Path]) -> Iterator[Source]:
    """Yield every file below the paths, in the order of their names, ZIP files opened; an unreadable one yields too.

    A member's path is the archive's with the member's behind it. Each source must be read before the next is asked for.
    """
    for path, name in _walk(paths):
        try:
            with path.open("rb") as file:
                is_archive = recognise_file(file).is_archive
        except OSError:
            yield Source(str(path), name, _refuse(UnreadableError()))
            continue
        if is_archive:
            yield from _members(path, name)
        else:
            yield Source(str(path), name, _read(path))


def _walk(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file and its name below the path that was given; where that lies is nobody's business later."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    file = Path(folder, name)
                    yield file, str(file.relative_to(path))
        else:
            yield path, path.name


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > settings.MAX_FILE_BYTES:
                raise TooLargeError
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise UnreadableError from error


def _members(path: Path, name: str) -> Iterator[Source]:
    with ExitStack() as opened:
        try:
            file: BinaryIO = opened.enter_context(path.open("rb"))
            archive = open_archive(file)
        except (ArchiveError, OSError) as fault:
            yield Source(str(path), name, _refuse(fault if isinstance(fault, ArchiveError) else UnreadableError()))
            return
        if not archive.members:
            yield Source(
                str(path), name, _refuse(ArchiveError("archive-empty", _("This ZIP file has no files in it.")))
            )
        for member in archive.members:
            yield Source(f"{path}/{member.name}", f"{name}/{member.name}", _member_chunks(archive, member))


def _member_chunks(archive: Archive | Disc, member: Member) -> Iterator[bytes]:
    try:
        yield from archive.read(member)
    except OSError as error:
        raise UnreadableError from error


def _refuse(error: IngestError) -> Iterator[bytes]:
    """Return bytes that raise when they are read: the error belongs to whoever takes the file."""
    return map(_raise, [error])


def _raise(error: IngestError) -> bytes:
    raise error
