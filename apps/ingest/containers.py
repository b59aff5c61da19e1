"""What is opened and taken file by file: a ZIP, or the image of a disc; which one, its content says."""

from __future__ import annotations

from typing import BinaryIO

from django.conf import settings

from apps.ingest.archives import Archive, ArchiveLimits
from apps.ingest.discs import Disc
from apps.ingest.recognise import Kind, recognise_file


def open_archive(file: BinaryIO) -> Archive | Disc:
    """Return the opened archive, its directory within this installation's limits; raises ArchiveError.

    `file` is seekable and stays the caller's. What is neither is taken for a damaged ZIP.
    """
    limits = ArchiveLimits(member_bytes=settings.MAX_FILE_BYTES, total_bytes=settings.MAX_ARCHIVE_BYTES)
    if recognise_file(file) is Kind.DISC:
        return Disc(file, limits)
    return Archive(file, limits)
