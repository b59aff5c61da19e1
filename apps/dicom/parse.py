"""Read the header of one Part 10 file (PS3.10) without reading its pixels.

The file comes from a stranger. Whatever it holds, only the errors of ``errors`` leave ``parse_header``, and
the work is bounded: every read is clipped to the file, counted, and the inflated size is capped. Crashes of
the interpreter itself are the business of the process that calls.
"""

import datetime
import io
import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from . import charset, elements, frames, sop_classes
from .elements import Element
from .errors import Code, DicomError, IgnoredError, RejectedError
from .frames import PixelFormat, PixelIndex

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 100_000
MAX_HEADER_BYTES: Final = 128 << 20
"""What may be read into memory of one file; large binary elements and pixels are skipped and do not count."""
MAX_INFLATED_BYTES: Final = 256 << 20
MAX_INFLATE_RATIO: Final = 20
MIN_INFLATE_LIMIT: Final = 16 << 20
DEFER_BYTES: Final = 16 << 10
"""Binary elements longer than this stay in the file; ``HeaderDataset.places`` says where."""

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_NATIVE: Final = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    }
)
_DEFLATED: Final = frozenset({DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
_PIXEL_TAGS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})
NOT_LITTLE_ENDIAN: Final = _DEFLATED | {EXPLICIT_VR_BIG_ENDIAN}
"""Transfer syntaxes whose data set is not simply there to be read from the front."""
_UNDEFINED: Final = 0xFFFFFFFF
_HEAD_BYTES: Final = 8
"""Tag and length of an element or item: what pydicom asks for first, and where a cut file ends in the middle."""
_ITEM_TAG: Final = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
_KNOWN_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


@dataclass(frozen=True, slots=True)
class ElementPlace:
    """Where the value of a large top-level element lies: in the file, or in the inflated data set of one."""

    tag: int
    vr: str
    offset: int
    length: int
    is_little_endian: bool


class HeaderDataset(Dataset):
    """A data set without its pixels and without its large binary values, and the places of those."""

    places: Mapping[int, ElementPlace]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = {}


NO_DATASET: Final = HeaderDataset()
"""The data set of a header whose elements stayed where it was read: in a child process, or unread."""


@dataclass(slots=True)
class Header:
    """What a file says about itself. Texts are decoded and stripped, and '' when absent.

    ``dataset`` is the data set without pixels (``NO_DATASET`` from ``limited``); ``pixels`` says where those are, or is
    None.
    """

    dataset: HeaderDataset
    transfer_syntax_uid: str
    has_file_meta: bool
    file_size: int
    """Bytes of the file."""
    implementation_class_uid: str
    source_application_entity_title: str

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str

    patient_name: str
    dicom_patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: datetime.date | None
    patient_sex: str

    study_date: datetime.date | None
    study_time: datetime.time | None
    study_id: str
    accession_number: str
    study_description: str
    referring_physician_name: str

    series_number: int | None
    modality: str
    series_description: str
    body_part_examined: str
    laterality: str
    protocol_name: str
    series_date: datetime.date | None
    series_time: datetime.time | None
    institution_name: str
    manufacturer: str
    manufacturer_model_name: str
    station_name: str
    frame_of_reference_uid: str

    instance_number: int | None
    image_type: tuple[str, ...]
    acquisition_number: int | None
    content_date: datetime.date | None
    content_time: datetime.time | None
    document_title: str
    concept_name: str
    """Meaning of the concept name of a structured report's root, such as "Chest X-ray report"."""

    rows: int | None
    columns: int | None
    number_of_frames: int
    """At least 1, also for objects without frames."""
    bits_allocated: int | None
    bits_stored: int | None
    samples_per_pixel: int | None
    photometric_interpretation: str
    pixel_spacing: tuple[float, ...]
    """Millimetres between rows, then between columns; empty when absent."""
    slice_thickness: float | None
    image_position_patient: tuple[float, ...]
    image_orientation_patient: tuple[float, ...]
    frame_time: float | None
    """Milliseconds a frame of a cine, or None."""

    pixels: PixelIndex | None = field(default=None)

    @property
    def has_pixels(self) -> bool:
        """Whether there is at least one frame."""
        return self.pixels is not None and self.pixels.number_of_frames > 0

    @property
    def kind(self) -> sop_classes.Kind:
        """What kind of object this is."""
        return sop_classes.kind(self.sop_class_uid)


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


class _BoundedFile(io.RawIOBase):
    """A file whose reads are clipped to what is there (a claimed length allocates nothing), counted and added up."""

    name = ""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self._at = file.tell()
        self._reads = 0
        self._bytes = 0
        self.size = size

    def read(self, size: int = -1) -> bytes:
        left = max(self.size - self._at, 0)
        is_head = size == _HEAD_BYTES
        if size < 0 or size > left:
            size = left
        self._reads += 1
        if self._reads > 3 * MAX_ELEMENTS:
            raise RejectedError(Code.TOO_MANY_ELEMENTS)
        self._bytes += size
        if self._bytes > MAX_HEADER_BYTES:
            raise RejectedError(Code.TOO_LARGE)
        data = self._file.read(size)
        self._at += len(data)
        if is_head and size and len(data) < _HEAD_BYTES and data.strip(b"\0"):
            raise RejectedError(Code.TRUNCATED)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 1:
            offset += self._at
        elif whence == 2:
            offset += self.size
        if offset != self._at:
            self._at = self._file.seek(offset)
        return self._at

    def resume(self, offset: int) -> None:
        """Go to ``offset`` although others have moved the file underneath."""
        self._at = self._file.seek(offset)

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


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
        self.file = _BoundedFile(file, self.file_size)
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
        if transfer_syntax_uid in _DEFLATED:
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
        self.file = _BoundedFile(io.BytesIO(inflated), len(inflated))
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
            if stop.tag in _PIXEL_TAGS:
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
            if length != _UNDEFINED and offset + length > file.size:
                raise RejectedError(Code.TRUNCATED)
            is_large = DEFER_BYTES < length < _UNDEFINED and is_binary(tag, vr)
            if tag in _PIXEL_TAGS or (is_large and tag != EXTENDED_OFFSET_TABLE):
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
        is_encapsulated = stop.length == _UNDEFINED
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
        self._defer(stop, "OB" if is_encapsulated else _pixel_vr(stop.tag, stop.vr), is_little)
        return index


def _pixel_vr(tag: int, vr: str | None) -> str:
    if tag != PIXEL_DATA:
        return "OF" if tag == FLOAT_PIXEL_DATA else "OD"
    return vr if vr in ("OB", "OW") else "OW"


def index_pixels(
    file: BinaryIO,
    dataset: Dataset,
    *,
    tag: int,
    vr: str | None,
    offset: int,
    length: int,
    size: int,
    transfer_syntax_uid: str,
    is_little_endian: bool = True,
    is_deflated: bool = False,
) -> tuple[PixelIndex | None, int]:
    """Index pixel data whose value starts at ``offset`` of the data set, ``size`` bytes long; return its length too.

    ``file`` is the file itself and read for the heads of items only. None: nothing that could be shown. Raises
    ``RejectedError``.
    """
    pixel_format = pixel_format_of(dataset, tag)
    declared = max(1, elements.integer(dataset, 0x00280008) or 1)
    if declared > frames.MAX_FRAMES:
        raise RejectedError(Code.TOO_MANY_PIXELS)
    if length == _UNDEFINED:
        if transfer_syntax_uid in _NATIVE or is_deflated:
            raise RejectedError(Code.NO_TRANSFER_SYNTAX)
        index = frames.encapsulated_index(
            file,
            tag=tag,
            vr="OB",
            transfer_syntax_uid=transfer_syntax_uid,
            declared_frames=declared,
            offset=offset,
            file_size=size,
            pixel_format=pixel_format,
            extended_offsets=_bytes_of(dataset, EXTENDED_OFFSET_TABLE),
            is_video=transfer_syntax_uid in sop_classes.VIDEO_TRANSFER_SYNTAXES,
        )
        length = index.length
    else:
        if transfer_syntax_uid not in _NATIVE and sop_classes.is_known_transfer_syntax(transfer_syntax_uid):
            # Compressed pixels must be encapsulated (PS3.5 A.4); raw bytes there are damage, not an image.
            raise RejectedError(Code.MALFORMED)
        index = frames.native_index(
            tag=tag,
            vr=_pixel_vr(tag, vr),
            transfer_syntax_uid=transfer_syntax_uid,
            is_little_endian=is_little_endian,
            declared_frames=declared,
            offset=offset,
            length=length,
            pixel_format=pixel_format,
        )
        if index.number_of_frames == 0 and length and pixel_format.frame_bits:
            is_flood = pixel_format.decoded_frame_bytes > frames.MAX_FRAME_BYTES
            raise RejectedError(Code.TOO_MANY_PIXELS if is_flood else Code.TRUNCATED)
    if is_deflated:
        index = frames.deflated_index(
            tag=tag,
            vr=index.vr,
            transfer_syntax_uid=transfer_syntax_uid,
            declared_frames=index.number_of_frames,
            pixel_format=pixel_format,
        )
    return (index if index.number_of_frames and pixel_format.frame_bits else None), length


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
    if header.transfer_syntax_uid not in _DEFLATED:
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
                if element.length != _UNDEFINED and len(value) < element.length:
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


def _bytes_of(dataset: Dataset, tag: int) -> bytes:
    element = dataset.get_item(tag) if tag in dataset else None
    value = element.value if isinstance(element, (RawDataElement, DataElement)) else None
    return value if isinstance(value, bytes) else b""


def pixel_format_of(dataset: Dataset, pixel_tag: int) -> PixelFormat:
    """Return the Image Pixel attributes of a data set, as far as decoding needs them."""

    def integer(tag: int, default: int) -> int:
        value = elements.integer(dataset, tag)
        return default if value is None else max(0, value)

    is_float = pixel_tag != PIXEL_DATA
    allocated = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}.get(pixel_tag) or integer(0x00280100, 0)
    return PixelFormat(
        rows=integer(0x00280010, 0),
        columns=integer(0x00280011, 0),
        samples_per_pixel=integer(0x00280002, 1) or 1,
        bits_allocated=allocated,
        bits_stored=integer(0x00280101, 0) or allocated,
        pixel_representation=integer(0x00280103, 0),
        photometric_interpretation=elements.text(dataset, 0x00280004).upper() or "MONOCHROME2",
        planar_configuration=integer(0x00280006, 0),
        is_float=is_float,
    )


def header_of(dataset: HeaderDataset, transfer_syntax_uid: str, meta: Dataset | None, file_size: int) -> Header:
    """Return what a data set and its file meta information say, without the pixels."""
    encodings = elements.encodings_of(dataset)

    def text(tag: int) -> str:
        return elements.text(dataset, tag, encodings)

    def person_name(tag: int) -> str:
        # Component groups left empty at the end may be written or not (PS3.5 6.2.1.1): one form is kept.
        return text(tag).rstrip("=")

    def integer(tag: int) -> int | None:
        return elements.integer(dataset, tag)

    def number(tag: int) -> float | None:
        values = elements.numbers(dataset, tag)
        return values[0] if values else None

    meta = Dataset() if meta is None else meta
    spacing = (0x00280030, 0x00181164, 0x00182010)
    return Header(
        dataset=dataset,
        transfer_syntax_uid=transfer_syntax_uid,
        has_file_meta=len(meta) > 0,
        file_size=file_size,
        implementation_class_uid=elements.text(meta, 0x00020012),
        source_application_entity_title=elements.text(meta, 0x00020016),
        sop_class_uid=elements.identifier(dataset, 0x00080016),
        sop_instance_uid=elements.identifier(dataset, 0x00080018),
        study_instance_uid=elements.identifier(dataset, 0x0020000D),
        series_instance_uid=elements.identifier(dataset, 0x0020000E),
        patient_name=person_name(0x00100010),
        dicom_patient_id=text(0x00100020),
        issuer_of_patient_id=text(0x00100021),
        patient_birth_date=elements.date(dataset, 0x00100030),
        patient_sex=text(0x00100040),
        study_date=elements.date(dataset, 0x00080020),
        study_time=elements.time(dataset, 0x00080030),
        study_id=text(0x00200010),
        accession_number=text(0x00080050),
        study_description=text(0x00081030),
        referring_physician_name=person_name(0x00080090),
        series_number=integer(0x00200011),
        modality=text(0x00080060),
        series_description=text(0x0008103E),
        body_part_examined=text(0x00180015),
        laterality=text(0x00200060) or text(0x00200062),
        protocol_name=text(0x00181030),
        series_date=elements.date(dataset, 0x00080021),
        series_time=elements.time(dataset, 0x00080031),
        institution_name=text(0x00080080),
        manufacturer=text(0x00080070),
        manufacturer_model_name=text(0x00081090),
        station_name=text(0x00081010),
        frame_of_reference_uid=text(0x00200052),
        instance_number=integer(0x00200013),
        image_type=tuple(elements.strings(dataset, 0x00080008)),
        acquisition_number=integer(0x00200012),
        content_date=elements.date(dataset, 0x00080023),
        content_time=elements.time(dataset, 0x00080033),
        document_title=text(0x00420010),
        concept_name=_concept_name(dataset, encodings),
        rows=integer(0x00280010),
        columns=integer(0x00280011),
        number_of_frames=max(1, integer(0x00280008) or 1),
        bits_allocated=integer(0x00280100),
        bits_stored=integer(0x00280101),
        samples_per_pixel=integer(0x00280002),
        photometric_interpretation=text(0x00280004).upper(),
        pixel_spacing=next((values for values in (elements.numbers(dataset, tag) for tag in spacing) if values), ()),
        slice_thickness=number(0x00180050),
        image_position_patient=elements.numbers(dataset, 0x00200032),
        image_orientation_patient=elements.numbers(dataset, 0x00200037),
        frame_time=number(0x00181063),
    )


def _concept_name(dataset: Dataset, encodings: Sequence[str]) -> str:
    element = dataset[0x0040A043].value if 0x0040A043 in dataset else None
    if not isinstance(element, DicomSequence) or not element:
        return ""
    item = element[0]
    return elements.text(item, 0x00080104, elements.encodings_of(item, encodings))
