"""Where the pixels of a data set lie, and in what format, from what its header says and the heads of its items."""

from typing import BinaryIO, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from . import elements, frames, sop_classes
from .errors import Code, RejectedError
from .frames import PixelFormat, PixelIndex
from .syntaxes import NATIVE

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
PIXEL_TAGS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})
UNDEFINED: Final = 0xFFFFFFFF
"""The length of what ends with a delimiter (PS3.5 7.1.3)."""


def pixel_vr(tag: int, vr: str | None) -> str:
    """Return the VR of pixel data, whatever the file may say (PS3.5 A.1)."""
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
    if length == UNDEFINED:
        if transfer_syntax_uid in NATIVE or is_deflated:
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
        if transfer_syntax_uid not in NATIVE and sop_classes.is_known_transfer_syntax(transfer_syntax_uid):
            # Compressed pixels must be encapsulated (PS3.5 A.4); raw bytes there are damage, not an image.
            raise RejectedError(Code.MALFORMED)
        index = frames.native_index(
            tag=tag,
            vr=pixel_vr(tag, vr),
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
