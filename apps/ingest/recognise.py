"""What a file is, by its content alone: neither its name nor what its sender says counts (CONTROLS UPL-06)."""

from __future__ import annotations

from enum import Enum
from typing import BinaryIO, Final

# Enough for the Part 10 preamble and prefix (PS3.10 section 7.1) and for every signature below.
HEAD_BYTES: Final = 132


class Kind(Enum):
    """What the first bytes of a file say it is."""

    DICOM = "dicom"
    ARCHIVE = "archive"
    DISC = "disc"
    PDF = "application/pdf"
    JPEG = "image/jpeg"
    PNG = "image/png"
    EMPTY = "empty"
    OTHER = "other"

    @property
    def is_document(self) -> bool:
        """Whether it may be attached to a study."""
        return self in _DOCUMENTS

    @property
    def is_archive(self) -> bool:
        """Whether it is opened, and its files are taken one by one."""
        return self in (Kind.ARCHIVE, Kind.DISC)


_DOCUMENTS: Final = frozenset({Kind.PDF, Kind.JPEG, Kind.PNG})

_SIGNATURES: Final = (
    (b"PK\x03\x04", Kind.ARCHIVE),  # APPNOTE 4.3.7; an archive without members begins with its end record
    (b"PK\x05\x06", Kind.ARCHIVE),
    (b"%PDF-", Kind.PDF),  # ISO 32000-1 section 7.5.2
    (b"\xff\xd8\xff", Kind.JPEG),  # ISO/IEC 10918-1 annex B: SOI and the next marker
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),  # PNG section 5.2
)
# ECMA-119 section 8.1.2: the standard identifier of the first volume descriptor, in sector 16.
_DISC_SIGNATURE_OFFSET: Final = 16 * 2048 + 1
_DISC_SIGNATURE: Final = b"CD001"


def recognise(head: bytes) -> Kind:
    """Return the kind of the file that begins with `head` (its first 132 bytes, fewer only when it is shorter).

    The DICOM prefix wins over any signature in the preamble, which may hold anything (PS3.10 section 7.1).
    """
    if not head:
        return Kind.EMPTY
    if head[128:132] == b"DICM":
        return Kind.DICOM
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    return Kind.OTHER


def recognise_file(file: BinaryIO) -> Kind:
    """Return the kind of a seekable file, the image of a disc too, whose signature stands behind its first 32 KiB.

    The position is at the beginning again afterwards.
    """
    file.seek(0)
    kind = recognise(file.read(HEAD_BYTES))
    if kind is Kind.OTHER:
        file.seek(_DISC_SIGNATURE_OFFSET)
        if file.read(len(_DISC_SIGNATURE)) == _DISC_SIGNATURE:
            kind = Kind.DISC
    file.seek(0)
    return kind


# Left on discs and sticks by operating systems, burning programs and the viewers that come along: told apart so that
# nobody is troubled with them.
_SYSTEM_NAMES: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini", "autorun.inf", ".directory", "ehthumbs.db"})
_PROGRAM_SUFFIXES: Final = (
    ".exe", ".dll", ".ocx", ".sys", ".msi", ".cab", ".inf", ".ini", ".bat", ".cmd", ".lnk", ".url", ".jar", ".class",
    ".so", ".dylib", ".chm", ".hlp", ".ico", ".cur", ".ttf", ".css", ".js", ".htm", ".html", ".manifest",
)  # fmt: skip


def is_system_file(name: str) -> bool:
    """Return whether a file that is no DICOM is called as files of a system or a disc's viewer are (display only)."""
    parts = name.lower().split("/")
    return (
        parts[-1] in _SYSTEM_NAMES
        or parts[-1].startswith("._")
        or parts[-1].endswith(_PROGRAM_SUFFIXES)
        or "__macosx" in parts
    )
