"""The header of a common file in one pass, for the sake of speed: a tenth of what pydicom takes.

Only what is plainly regular is read here: Part 10, little endian, tags ascending, sequences that tile, all before the
pixels in the first bytes at hand. For anything else ``scan`` gives up and ``parse`` decides, so that no file is
refused, and none read differently, because of this module; ``tests/dicom/test_scan.py`` holds both against each other.
"""

import struct
from typing import BinaryIO, Final, NamedTuple, cast

from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from . import elements, parse, sop_classes
from .errors import DicomError
from .parse import Header, HeaderDataset

MAX_ELEMENTS: Final = 20_000
MAX_DEPTH: Final = 16

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_NO_LENGTH: Final = bytes(4)
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_PREAMBLE: Final = 132
_HEAD: Final = struct.Struct("<HH2sH")
_WORDS: Final = struct.Struct("<HHI")
_LENGTH: Final = struct.Struct("<I")
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_NAMES: Final = {vr: vr.decode() for vr in _SHORT_VRS | _LONG_VRS}
_LAST_META_TAG: Final = 0x0002FFFF
# Structured reports say their title in a sequence, DICOMDIRs hold their records in one: read by pydicom.
_BY_PYDICOM: Final = frozenset({0x00041220, 0x0040A043})


class _IrregularError(Exception):
    """Not for this reader."""


class _Found(dict[int, RawDataElement]):
    """The wanted elements, as far as `elements` and `parse` ask a data set for them."""

    get_item = dict.get


class _Asked(dict[int, RawDataElement]):
    """Notes what it is asked for, and has nothing."""

    get_item = dict.get

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[int] = set()

    def __contains__(self, tag: object) -> bool:
        self.tags.add(cast("int", tag))
        return False


def _wanted() -> frozenset[int]:
    """Return the tags that a header is made of: those that its maker asks for."""
    asked = _Asked()
    dataset = cast("HeaderDataset", asked)
    parse.header_of(dataset, "", dataset, 0)
    parse.pixel_format_of(dataset, parse.PIXEL_DATA)
    return frozenset(asked.tags) | {0x00020002, 0x00020010, parse.EXTENDED_OFFSET_TABLE}


_WANTED: Final = _wanted()


class _Stop(NamedTuple):
    """Where the scan ended: at the pixels, or (tag 0) at the end of the data."""

    tag: int
    vr: str | None
    length: int
    offset: int


def scan(head: bytes, file: BinaryIO, file_size: int) -> Header | None:
    """Return the header of a file that begins with ``head``, its data set empty; None when `parse` has to decide.

    ``file`` is read only for the items of encapsulated pixels, and left anywhere.
    """
    try:
        return _scan(head, file, file_size)
    except (_IrregularError, struct.error, DicomError):
        return None


def _scan(head: bytes, file: BinaryIO, file_size: int) -> Header:
    if head[128:_PREAMBLE] != b"DICM":
        raise _IrregularError
    meta = _Found()
    stop = _Scanner(head, file_size, meta, is_implicit=False).run(_PREAMBLE, _LAST_META_TAG)
    facts = cast("HeaderDataset", meta)
    transfer_syntax_uid = elements.text(facts, 0x00020010)
    if (
        not transfer_syntax_uid
        or not sop_classes.is_known_transfer_syntax(transfer_syntax_uid)
        or transfer_syntax_uid in parse.NOT_LITTLE_ENDIAN
        or elements.text(facts, 0x00020002) == sop_classes.MEDIA_STORAGE_DIRECTORY
    ):
        raise _IrregularError
    found = _Found()
    is_implicit = transfer_syntax_uid == parse.IMPLICIT_VR_LITTLE_ENDIAN
    stop = _Scanner(head, file_size, found, is_implicit=is_implicit).run(stop.offset, _UNDEFINED)
    dataset = cast("HeaderDataset", found)
    header = parse.header_of(dataset, transfer_syntax_uid, facts, file_size)
    header.dataset = parse.NO_DATASET
    if stop.tag:
        if stop.length != _UNDEFINED and stop.offset + stop.length > file_size:
            raise _IrregularError
        index, _ = parse.index_pixels(
            file,
            dataset,
            tag=stop.tag,
            vr=stop.vr,
            offset=stop.offset,
            length=stop.length,
            size=file_size,
            transfer_syntax_uid=transfer_syntax_uid,
        )
        if index is None or not index.number_of_frames:
            raise _IrregularError
        header.pixels = index
        header.number_of_frames = index.number_of_frames
    return header


class _Scanner:
    def __init__(self, head: bytes, file_size: int, found: _Found, *, is_implicit: bool) -> None:
        self.head, self.end, self.found, self.is_implicit = head, len(head), found, is_implicit
        self.file_size = file_size
        self.count = 0

    def element(self, at: int, last_tag: int = _UNDEFINED) -> tuple[int, str | None, str, int, int]:
        """Return an element's tag, its VR in the file and by meaning, its length, and where its value begins."""
        if self.is_implicit:
            group, element, length = _WORDS.unpack_from(self.head, at)
            # What pydicom would take for a value representation is not for us.
            if 0x40 < length & 0xFF < 0x5B and 0x40 < length >> 8 & 0xFF < 0x5B:
                raise _IrregularError
            tag = group << 16 | element
            return tag, None, elements.standard_vr(tag), length, at + 8
        group, element, code, length = _HEAD.unpack_from(self.head, at)
        tag = group << 16 | element
        if code in _SHORT_VRS:
            vr = _NAMES[code]
            return tag, vr, vr, length, at + 8
        if code in _LONG_VRS:
            (length,) = _LENGTH.unpack_from(self.head, at + 8)
            vr = _NAMES[code]
            return tag, vr, elements.standard_vr(tag) if code == b"UN" else vr, length, at + 12
        if tag > last_tag or tag == _ITEM_END:
            # The data set behind the meta information may be implicit; a delimiter has no VR.
            return tag, None, "", 0, at + 8
        raise _IrregularError

    def run(self, at: int, last_tag: int) -> _Stop:
        """Take the wanted elements from ``at`` on, up to the pixels or behind ``last_tag``."""
        head, end, found, count = self.head, self.end, self.found, 0
        before = -1
        while at < end:
            start = at
            tag, vr, meaning, length, at = self.element(at, last_tag)
            if tag > last_tag:
                return _Stop(tag, vr, length, start)
            if tag == parse.PIXEL_DATA and tag > before:
                return _Stop(tag, vr, length, at)
            if tag <= before or tag > parse.EXTENDED_OFFSET_TABLE_LENGTHS or tag in _BY_PYDICOM:
                raise _IrregularError
            before = tag
            if vr == "SQ" or (meaning == "SQ" and vr is None):
                at = self.skip_sequence(at, length, 1)
                continue
            behind = at + length
            if behind > end or meaning == "SQ":
                raise _IrregularError
            count += 1
            if tag == _SPECIFIC_CHARACTER_SET:
                self.check_text(vr, at, behind)
            if tag in _WANTED and not (length > parse.DEFER_BYTES and parse.is_binary(tag, vr)):
                found[tag] = RawDataElement(
                    cast("BaseTag", tag), vr, length, head[at:behind], at, self.is_implicit, True
                )
            at = behind
        if at != self.file_size or count > MAX_ELEMENTS or last_tag != _UNDEFINED:
            raise _IrregularError
        return _Stop(0, None, 0, at)

    def check_text(self, vr: str | None, at: int, end: int) -> None:
        """Leave a character set that pydicom may stumble over to it."""
        value = self.head[at:end]
        if vr not in (None, "CS") or not value.isascii() or not value.decode().isprintable():
            raise _IrregularError

    def skip_sequence(self, at: int, length: int, depth: int) -> int:
        """Return where the sequence whose items begin at ``at`` ends, all of it being regular."""
        head = self.head
        end = self.end if length == _UNDEFINED else at + length
        if depth > MAX_DEPTH or end > self.end:
            raise _IrregularError
        while at < end:
            group, element, item_length = _WORDS.unpack_from(head, at)
            at += 8
            tag = group << 16 | element
            if tag == _SEQUENCE_END and length == _UNDEFINED and item_length == 0:
                return at
            if tag != _ITEM:
                raise _IrregularError
            at = self.skip_item(at, item_length, depth)
        if at != end or length == _UNDEFINED:
            raise _IrregularError
        return at

    def skip_item(self, at: int, item_length: int, depth: int) -> int:
        """Return where the item whose elements begin at ``at`` ends."""
        end = self.end if item_length == _UNDEFINED else at + item_length
        if end > self.end:
            raise _IrregularError
        before = -1
        while at < end:
            tag, vr, meaning, length, at = self.element(at)
            if tag == _ITEM_END and item_length == _UNDEFINED and self.head[at - 4 : at] == _NO_LENGTH:
                return at
            self.count += 1
            if tag <= before or tag >= _ITEM or self.count > MAX_ELEMENTS:
                raise _IrregularError
            before = tag
            if vr == "SQ" or (meaning == "SQ" and vr is None):
                at = self.skip_sequence(at, length, depth + 1)
            elif length == _UNDEFINED or meaning == "SQ":
                raise _IrregularError
            else:
                if tag == _SPECIFIC_CHARACTER_SET:
                    self.check_text(vr, at, at + length)
                at += length
        if at != end or item_length == _UNDEFINED:
            raise _IrregularError
        return at
