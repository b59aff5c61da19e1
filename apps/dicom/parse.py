"""Read the header of one Part 10 file (PS3.10) without reading its pixels.

The file comes from a stranger. Whatever it holds, only the errors of ``errors`` leave ``parse_header``, and
the work is bounded: every read is clipped to the file, counted, and the inflated size is capped. Crashes of
the interpreter itself are the business of the process that calls.
"""

import io
import logging
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from . import charset, elements, sop_classes
from .bounded import MAX_ELEMENTS, BoundedFile
from .elements import Element
from .errors import Code, DicomError, IgnoredError, RejectedError
from .frames import PixelIndex
from .header import NO_DATASET, ElementPlace, Header, HeaderDataset, header_of
from .pixel_index import (
    DOUBLE_FLOAT_PIXEL_DATA,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    PIXEL_TAGS,
    UNDEFINED,
    index_pixels,
    pixel_format_of,
    pixel_vr,
)
from .syntaxes import (
    DEFLATED,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    NOT_LITTLE_ENDIAN,
)

__all__ = [
    "DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN",
    "DOUBLE_FLOAT_PIXEL_DATA",
    "EXPLICIT_VR_BIG_ENDIAN",
    "EXPLICIT_VR_LITTLE_ENDIAN",
    "EXTENDED_OFFSET_TABLE",
    "EXTENDED_OFFSET_TABLE_LENGTHS",
    "FLOAT_PIXEL_DATA",
    "IMPLICIT_VR_LITTLE_ENDIAN",
    "MAX_ELEMENTS",
    "NOT_LITTLE_ENDIAN",
    "NO_DATASET",
    "PIXEL_DATA",
    "ElementPlace",
    "Header",
    "HeaderDataset",
    "dataset_file",
    "header_of",
    "index_pixels",
    "inflate",
    "is_binary",
    "parse_header",
    "pixel_format_of",
]

MAX_DEPTH: Final = 32
MAX_INFLATED_BYTES: Final = 256 << 20
MAX_INFLATE_RATIO: Final = 20
MIN_INFLATE_LIMIT: Final = 16 << 20
DEFER_BYTES: Final = 16 << 10
"""Binary elements longer than this stay in the file; ``HeaderDataset.places`` says where."""

_ITEM_TAG: Final = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
_KNOWN_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def parse_header(file: BinaryIO) -> Header:
    """Parse the file from its beginning; any seekable binary file will do. Leaves its position anywhere.

    Raises ``RejectedError`` with the code that says why, or ``IgnoredError`` (``dicomdir``). Nothing else,
    but what ``file`` itself raises as ``OSError``.
    """
    try:
        return _Parser(file).header()
    except DicomError:
        raise
    except RecursionError as error:
        raise RejectedError(Code.TOO_DEEP) from error
    except MemoryError as error:
        raise RejectedError(Code.TOO_LARGE) from error
    except OSError as error:
        # pydicom says OSError where a sequence ends in the middle of an item; a broken disk says it with a number.
        if error.errno is not None:
            raise
        raise RejectedError(Code.TOO_DEEP if _has_recursed(error) else Code.TRUNCATED) from error
    except Exception as error:
        # Not a hole but the wall: pydicom raises almost anything on damaged input, by design of its lazy reading.
        logging.getLogger(__name__).info("unreadable DICOM: %s", type(error).__name__)
        raise RejectedError(Code.MALFORMED) from error


def _has_recursed(error: BaseException | None) -> bool:
    """Say whether an error stands for too deep a recursion: pydicom makes an OSError of it at the head of an item."""
    while error is not None:
        if isinstance(error, RecursionError):
            return True
        error = error.__context__
    return False


@dataclass(slots=True)
class _Stop:
    """The element at which reading stopped, because its value is not to be read."""

    tag: int
    vr: str | None
    length: int
    offset: int


class _Parser:
    def __init__(self, file: BinaryIO) -> None:
        self.source = file
        self.file_size = file.seek(0, 2)
        file.seek(0)
        self.file = BoundedFile(file, self.file_size)
        self.elements: dict[BaseTag, Element] = {}
        # The data set works on this very dict; filling it directly spares a conversion of every element.
        self.dataset = HeaderDataset(self.elements)
        self.places: dict[int, ElementPlace] = {}
        self.encodings: list[str] = list(charset.DEFAULT_ENCODINGS)
        self.pixel_tag = 0
        self.is_deflated = False

    def header(self) -> Header:
        meta = self.file_meta()
        if meta is not None and elements.text(meta, 0x00020002) == sop_classes.MEDIA_STORAGE_DIRECTORY:
            raise IgnoredError(Code.DICOMDIR)
        if meta is None:
            transfer_syntax_uid = self._guess_transfer_syntax()
        else:
            transfer_syntax_uid = elements.text(meta, 0x00020010)
            if not transfer_syntax_uid:
                transfer_syntax_uid = self._guess_transfer_syntax()
        if transfer_syntax_uid in DEFLATED:
            self._inflate()
        pixels = self._read_dataset(transfer_syntax_uid)
        if "DirectoryRecordSequence" in self.dataset:
            raise IgnoredError(Code.DICOMDIR)
        _check_nesting(self.dataset)
        header = header_of(self.dataset, transfer_syntax_uid, meta, self.file_size)
        header.pixels = pixels
        if pixels is not None and pixels.number_of_frames:
            header.number_of_frames = pixels.number_of_frames
        return header

    def file_meta(self) -> Dataset | None:
        """Read the file meta information (PS3.10 7.1), or rewind when there is none."""
        prefix = self.file.read(132) if self.file_size >= 132 else b""
        if prefix[128:] == b"DICM":
            start = 132
        else:
            self.file.seek(0)
            head = self.file.read(8) if self.file_size >= 8 else b""
            if not _looks_like_dataset(head):
                raise RejectedError(Code.NOT_DICOM)
            start = 0
        self.file.seek(start)
        meta = read_dataset(
            cast("BinaryIO", self.file), False, True, stop_when=lambda tag, *_: tag >> 16 != 2, at_top_level=True
        )
        _check_nesting(meta)
        return meta if len(meta) else None

    def _guess_transfer_syntax(self) -> str:
        """Tell implicit from explicit VR by the first element; nothing else can be told without meta information."""
        at = self.file.tell()
        head = self.file.read(8)
        self.file.seek(at)
        if len(head) < 8:
            raise RejectedError(Code.TRUNCATED)
        return EXPLICIT_VR_LITTLE_ENDIAN if head[4:6] in _KNOWN_VRS else IMPLICIT_VR_LITTLE_ENDIAN

    def _inflate(self) -> None:
        inflated = inflate(self.source, self.file.tell(), self.file_size)
        self.file = BoundedFile(io.BytesIO(inflated), len(inflated))
        self.is_deflated = True

    def _read_dataset(self, transfer_syntax_uid: str) -> PixelIndex | None:
        is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
        is_little = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
        pixels: PixelIndex | None = None
        stops = 0
        while True:
            try:
                stop = self._read_until_large(is_implicit, is_little)
            except (RejectedError, OSError):
                if pixels is None:
                    raise
                # Behind the pixels come only padding and signatures; what is no element there is ignored.
                break
            if stop is None:
                break
            stops += 1
            if stops > MAX_ELEMENTS // 10:
                raise RejectedError(Code.TOO_MANY_ELEMENTS)
            if stop.tag in PIXEL_TAGS:
                pixels = self._index_pixels(stop, transfer_syntax_uid, is_little)
            else:
                self._defer(stop, _effective_vr(stop.tag, stop.vr), is_little)
                self.file.seek(stop.offset + stop.length)
        self.dataset.places = self.places
        self.dataset.set_original_encoding(is_implicit, is_little, self.encodings)
        return pixels

    def _read_until_large(self, is_implicit: bool, is_little: bool) -> _Stop | None:
        """Read elements into the data set up to one whose value is to stay in the file; leave the file at it."""
        stops: list[_Stop] = []
        file = self.file

        def stop_when(tag: BaseTag, vr: str | None, length: int) -> bool:
            offset = file.tell()
            if self.pixel_tag and tag <= self.pixel_tag:
                raise RejectedError(Code.MALFORMED)
            if length != UNDEFINED and offset + length > file.size:
                raise RejectedError(Code.TRUNCATED)
            is_large = DEFER_BYTES < length < UNDEFINED and is_binary(tag, vr)
            if tag in PIXEL_TAGS or (is_large and tag != EXTENDED_OFFSET_TABLE):
                stops.append(_Stop(int(tag), vr, length, offset))
                return True
            return False

        part = read_dataset(
            cast("BinaryIO", file),
            is_implicit,
            is_little,
            stop_when=stop_when,
            parent_encoding=self.encodings,
        )
        if 0x00080005 in part:
            self.encodings = list(charset.encodings_from(elements.strings(part, 0x00080005)))
        self.elements.update(part.items())
        if not stops:
            if file.tell() < file.size and not self.pixel_tag:
                # pydicom stopped early, at a value whose end it did not find or at a delimiter out of place.
                raise RejectedError(Code.MALFORMED)
            return None
        # pydicom may ask twice about the first element, with a made-up length the first time.
        return stops[-1]

    def _defer(self, stop: _Stop, vr: str, is_little: bool) -> None:
        vr = "OW" if " or " in vr else vr
        self.places[stop.tag] = ElementPlace(stop.tag, vr, stop.offset, stop.length, is_little)

    def _index_pixels(self, stop: _Stop, transfer_syntax_uid: str, is_little: bool) -> PixelIndex | None:
        """Index the pixel data and leave the file behind it."""
        self.pixel_tag = stop.tag
        is_encapsulated = stop.length == UNDEFINED
        index, length = index_pixels(
            self.source,
            self.dataset,
            tag=stop.tag,
            vr=stop.vr,
            offset=stop.offset,
            length=stop.length,
            size=self.file.size,
            transfer_syntax_uid=transfer_syntax_uid,
            is_little_endian=is_little,
            is_deflated=self.is_deflated,
        )
        stop.length = length
        self.file.resume(stop.offset + length)
        self._defer(stop, "OB" if is_encapsulated else pixel_vr(stop.tag, stop.vr), is_little)
        return index


def inflate(file: BinaryIO, offset: int, file_size: int) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5) that starts at ``offset``, in steps and only up to the limit.

    Raises ``RejectedError``: ``expands-beyond-limit``, ``truncated`` or ``malformed``.
    """
    limit = min(MAX_INFLATED_BYTES, max(MIN_INFLATE_LIMIT, MAX_INFLATE_RATIO * (file_size - offset)))
    file.seek(offset)
    chunk = file.read(64 << 10)
    # The standard wants a bare deflate stream (RFC 1951); some writers add the zlib head (RFC 1950).
    has_zlib_head = len(chunk) > 1 and chunk[0] & 0x0F == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
    inflater = zlib.decompressobj(zlib.MAX_WBITS if has_zlib_head else -zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        while not inflater.eof:
            piece = inflater.decompress(chunk, 1 << 20)
            inflated += piece
            if len(inflated) > limit:
                raise RejectedError(Code.EXPANDS_BEYOND_LIMIT)
            if not chunk and not piece:
                break
            chunk = inflater.unconsumed_tail or file.read(64 << 10)
    except zlib.error as error:
        raise RejectedError(Code.MALFORMED) from error
    if not inflater.eof:
        raise RejectedError(Code.TRUNCATED)
    return bytes(inflated)


def dataset_file(file: BinaryIO, header: Header) -> BinaryIO:
    """Return the file that the places of ``header.dataset`` count in: ``file``, or its inflated data set."""
    if header.transfer_syntax_uid not in DEFLATED:
        return file
    parser = _Parser(file)
    parser.file_meta()
    return io.BytesIO(inflate(file, parser.file.tell(), parser.file_size))


def _looks_like_dataset(head: bytes) -> bool:
    """Say whether a file without preamble starts like a data set: with an early element of group 2 or 8."""
    if len(head) < 8:
        return False
    group, element, vr, short_length = struct.unpack("<HH2sH", head)
    long_length = struct.unpack_from("<I", head, 4)[0]
    if group not in (0x0002, 0x0008) or element > 0x0018:
        return False
    return bool((short_length if vr in _KNOWN_VRS else long_length) <= 64)


def _effective_vr(tag: int, vr: str | None) -> str:
    return vr if vr is not None and vr != "UN" else elements.standard_vr(int(tag))


def is_binary(tag: int, vr: str | None) -> bool:
    """Say whether the value of an element may stay in the file when it is long."""
    effective = _effective_vr(tag, vr)
    return effective in elements.BINARY_VRS or effective == "OB or OW"


def _check_nesting(dataset: Dataset) -> None:
    """Visit every element of every item: cut values, depth and number of elements are judged here."""
    count = 0
    pending: list[tuple[Dataset, int]] = [(dataset, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise RejectedError(Code.TOO_DEEP)
        count += len(item)
        if count > MAX_ELEMENTS:
            raise RejectedError(Code.TOO_MANY_ELEMENTS)
        for tag, element in list(item.items()):
            if isinstance(element, RawDataElement):
                value = element.value or b""
                if element.length != UNDEFINED and len(value) < element.length:
                    raise RejectedError(Code.TRUNCATED)
                if _effective_vr(tag, element.VR) != "SQ":
                    continue
                # Items are counted before they are made: each costs pydicom a data set.
                if count + value.count(_ITEM_TAG[element.is_little_endian]) > MAX_ELEMENTS:
                    raise RejectedError(Code.TOO_MANY_ELEMENTS)
            elif element.VR != "SQ":
                continue
            items = item[tag].value
            if isinstance(items, DicomSequence):
                pending.extend((child, depth + 1) for child in items)
