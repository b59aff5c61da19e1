"""Read a Part 10 file, or a bare data set, as a list of elements."""

import io
import struct
from dataclasses import dataclass
from typing import Final

from apps.dicom.errors import Code, IgnoredError, RejectedError
from apps.dicom.parse import inflate
from apps.dicom.uid import is_valid_uid

from .codec import (
    EXPLICIT,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VRS,
    Bytes,
    Element,
    Item,
    Syntax,
    read_elements,
)
from .tags import DEFLATED

_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


@dataclass(slots=True)
class Source:
    """A file that was read."""

    data: Bytes
    transfer_syntax_uid: str
    syntax: Syntax
    elements: Item
    index: dict[int, Element]


def read_source(data: Bytes) -> Source:
    """Read a Part 10 file, or a bare data set. Raises ``RejectedError`` or ``IgnoredError``."""
    transfer_syntax_uid, at = _transfer_syntax_of(data)
    body = data
    if transfer_syntax_uid in DEFLATED:
        body, at = inflate(io.BytesIO(data), at, len(data)), 0
    syntax = Syntax.of(transfer_syntax_uid)
    # Some writers say explicit and write implicit, or the other way round: the first element tells.
    if len(body) >= at + 8:
        syntax = Syntax(bytes(body[at + 4 : at + 6]) in VRS, syntax.is_little)
    elements, _ = read_elements(body, syntax, at)
    index: dict[int, Element] = {}
    for element in elements:
        index.setdefault(element.tag, element)
    if 0x00041220 in index:
        raise IgnoredError(Code.DICOMDIR)
    if not index:
        raise RejectedError(Code.NOT_DICOM)
    return Source(body, transfer_syntax_uid, syntax, elements, index)


def _transfer_syntax_of(data: Bytes) -> tuple[str, int]:
    """Return the transfer syntax, told or guessed, and where the data set starts."""
    at = 132 if len(data) >= 132 and bytes(data[128:132]) == b"DICM" else 0
    if not _looks_like_dicom(data, at):
        raise RejectedError(Code.NOT_DICOM)
    transfer_syntax_uid = ""
    if bytes(data[at : at + 2]) == b"\x02\x00":
        meta_syntax = EXPLICIT if bytes(data[at + 4 : at + 6]) in VRS else IMPLICIT
        meta, at = _read_meta(data, at, meta_syntax)
        told = {element.tag: ascii_of(element.value) for element in meta}
        if told.get(0x00020002) == _MEDIA_STORAGE_DIRECTORY:
            raise IgnoredError(Code.DICOMDIR)
        transfer_syntax_uid = told.get(0x00020010, "")
    if transfer_syntax_uid and not is_valid_uid(transfer_syntax_uid):
        raise RejectedError(Code.NO_TRANSFER_SYNTAX)
    if not transfer_syntax_uid:
        is_explicit = bytes(data[at + 4 : at + 6]) in VRS
        transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN if is_explicit else IMPLICIT_VR_LITTLE_ENDIAN
    return transfer_syntax_uid, at


def _looks_like_dicom(data: Bytes, at: int) -> bool:
    if len(data) < at + 8:
        return False
    group, element = struct.unpack_from("<HH", data, at)
    if at == 0:
        # Without a preamble: an early element of group 2 or 8 whose length makes sense.
        if group not in (0x0002, 0x0008) or element > 0x0018:
            return False
        vr, short = struct.unpack_from("<2sH", data, 4)
        return bool((short if vr in VRS else struct.unpack_from("<I", data, 4)[0]) <= 64)
    return True


def _read_meta(data: Bytes, at: int, syntax: Syntax) -> tuple[Item, int]:
    """Read group 2; return it and where the data set starts."""
    found: Item = []
    while len(data) >= at + 8 and bytes(data[at : at + 2]) == b"\x02\x00":
        vr = bytes(data[at + 4 : at + 6])
        if not syntax.is_explicit:
            (length,) = struct.unpack_from("<I", data, at + 4)
            head = 8
        elif vr in (b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR"):
            (length,) = struct.unpack_from("<I", data, at + 8)
            head = 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            head = 8
        (element,) = struct.unpack_from("<H", data, at + 2)
        if at + head + length > len(data):
            raise RejectedError(Code.TRUNCATED)
        found.append(Element(0x00020000 | element, "", bytes(data[at + head : at + head + length])))
        at += head + length
    return found, at


def ascii_of(value: object) -> str:
    """Return the bytes of a value as text without padding; '' for a sequence or fragments."""
    return bytes(value).decode("ascii", "replace").strip(" \0") if isinstance(value, (bytes, memoryview)) else ""
