"""Samples of one frame, from any transfer syntax, reading only that frame's bytes."""

import dataclasses
import io
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import JPEGExtended12BitDecoder, get_decoder
from pydicom.uid import UID, JPEGExtended12Bit, RLELossless

from . import codestream, frames, parse
from .errors import Code, DecodeError, DicomError, FrameError, NoPixelsError
from .frames import Layout, PixelIndex

JPEGExtended12BitDecoder.add_plugin("jpeg_extended", ("apps.dicom.jpeg_extended", "decode_frame"))

_RLE_HEADER_BYTES: Final = 64
_ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
_KEYWORDS: Final = {
    parse.PIXEL_DATA: "PixelData",
    parse.FLOAT_PIXEL_DATA: "FloatPixelData",
    parse.DOUBLE_FLOAT_PIXEL_DATA: "DoubleFloatPixelData",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples of a frame: (rows, columns), or (rows, columns, 3) for colour, which is always RGB."""

    samples: npt.NDArray[Any]
    photometric_interpretation: str


def read_frame(file: BinaryIO, index: PixelIndex | None, n: int) -> Frame:
    """Decode frame ``n`` (from 1). Colour becomes RGB, colour by pixel; palette indices stay indices.

    Raises ``NoPixelsError``, ``FrameError`` (``no-such-frame``, ``frame-not-addressable``) or ``DecodeError``
    (``undecodable``, ``unsupported-transfer-syntax``, ``too-many-pixels``).
    """
    if index is None:
        raise NoPixelsError
    if not 1 <= n <= index.number_of_frames:
        raise FrameError(Code.NO_SUCH_FRAME)
    if index.format.decoded_frame_bytes > frames.MAX_FRAME_BYTES:
        raise DecodeError(Code.TOO_MANY_PIXELS)
    try:
        if index.is_encapsulated:
            return _read_compressed(file, index, n)
        file, index = plain(file, index)
        return _read_native(file, index, n)
    except DicomError:
        raise
    except MemoryError as error:
        raise DecodeError(Code.TOO_MANY_PIXELS) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DecodeError(Code.UNDECODABLE) from error
    except Exception as error:
        # Five decoder libraries, each with errors of its own; their texts may quote the file.
        raise DecodeError(Code.UNDECODABLE) from error


def plain(file: BinaryIO, index: PixelIndex) -> tuple[BinaryIO, PixelIndex]:
    """Return a file and an index in which native frames can be found: inflates a deflated data set."""
    if index.layout is not Layout.DEFLATED:
        return file, index
    header = parse.parse_header(file)
    place = header.dataset.places.get(index.tag)
    if place is None:
        raise NoPixelsError
    inflated = parse.dataset_file(file, header)
    return inflated, frames.native_index(
        tag=index.tag,
        vr=index.vr,
        transfer_syntax_uid=parse.EXPLICIT_VR_LITTLE_ENDIAN,
        is_little_endian=True,
        declared_frames=index.number_of_frames,
        offset=place.offset,
        length=place.length,
        pixel_format=index.format,
    )


def _read_native(file: BinaryIO, index: PixelIndex, n: int) -> Frame:
    file.seek(index.offset)
    return _decoded(_native_syntax(index), file, index, n - 1, index.number_of_frames)


def _native_syntax(index: PixelIndex) -> str:
    if index.transfer_syntax_uid == parse.EXPLICIT_VR_BIG_ENDIAN:
        return parse.EXPLICIT_VR_BIG_ENDIAN
    if index.transfer_syntax_uid in (parse.IMPLICIT_VR_LITTLE_ENDIAN, parse.EXPLICIT_VR_LITTLE_ENDIAN):
        return parse.EXPLICIT_VR_LITTLE_ENDIAN
    raise DecodeError(Code.UNSUPPORTED_TRANSFER_SYNTAX)


def _read_compressed(file: BinaryIO, index: PixelIndex, n: int) -> Frame:
    syntax = index.transfer_syntax_uid
    data = frames.read_ranges(file, frames.frame_range(index, n))
    if syntax == _ENCAPSULATED_UNCOMPRESSED:
        native = dataclasses.replace(index, layout=Layout.NATIVE, number_of_frames=1, offset=0, length=len(data))
        return _decoded(parse.EXPLICIT_VR_LITTLE_ENDIAN, io.BytesIO(data), native, 0, 1)
    if not can_decode(syntax):
        raise DecodeError(Code.UNSUPPORTED_TRANSFER_SYNTAX)
    _check_declared_size(data, index)
    return _decoded(syntax, encapsulate([data], has_bot=False), index, 0, 1)


def can_decode(transfer_syntax_uid: str) -> bool:
    """Say whether frames in this transfer syntax can be decoded here."""
    if transfer_syntax_uid == _ENCAPSULATED_UNCOMPRESSED:
        return True
    try:
        return get_decoder(UID(transfer_syntax_uid)).is_available
    except NotImplementedError:
        return False


def _check_declared_size(data: bytes, index: PixelIndex) -> None:
    declared = index.format
    if index.transfer_syntax_uid == RLELossless:
        if len(data) < _RLE_HEADER_BYTES:
            raise DecodeError(Code.UNDECODABLE)
        return
    size = codestream.size_of(data)
    if size is None:
        raise DecodeError(Code.UNDECODABLE)
    actual = (size.rows, size.columns, size.samples_per_pixel)
    if actual != (declared.rows, declared.columns, declared.samples_per_pixel):
        raise DecodeError(Code.UNDECODABLE)


def _decoded(syntax: str, source: Any, index: PixelIndex, frame_index: int, number_of_frames: int) -> Frame:
    declared = index.format
    options: dict[str, Any] = {
        "rows": declared.rows,
        "columns": declared.columns,
        "samples_per_pixel": declared.samples_per_pixel,
        "photometric_interpretation": declared.photometric_interpretation,
        "number_of_frames": number_of_frames,
        "bits_allocated": declared.bits_allocated,
        "pixel_keyword": _KEYWORDS[index.tag],
    }
    if not declared.is_float:
        options["bits_stored"] = declared.bits_stored
        options["pixel_representation"] = declared.pixel_representation
        options["pixel_vr"] = index.vr
    if declared.samples_per_pixel > 1:
        options["planar_configuration"] = declared.planar_configuration
    if syntax == JPEGExtended12Bit and declared.bits_stored > 8:
        options["decoding_plugin"] = "jpeg_extended"
    samples, properties = get_decoder(UID(syntax)).as_array(source, index=frame_index, raw=False, **options)
    samples = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("<"), copy=False))
    return Frame(samples, str(properties["photometric_interpretation"]))
