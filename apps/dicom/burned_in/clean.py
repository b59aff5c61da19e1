"""Fill regions of every frame, and write the frames as they were: native ones in place, compressed ones without loss.

Native frames keep every byte outside the regions. Compressed ones are decoded, filled and compressed again in a
lossless transfer syntax of the same family; what is not in a region comes out exactly as it was decoded. An image that
was compressed with loss before stays marked as such (PS3.3 C.7.6.1.1.5).
"""

import dataclasses
import io
import itertools
from array import array
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from apps.dicom import decode, elements, frames, parse, pixels
from apps.dicom.deidentify.pixels import CleanedPixels
from apps.dicom.errors import Code, DecodeError, NoPixelsError
from apps.dicom.frames import Layout, PixelIndex
from apps.dicom.parse import Header

from .boxes import Box, covered
from .sample import samples_of

# The lossless relative of each transfer syntax; JPEG's own lossless process has no writer here, JPEG-LS is its heir.
REWRITTEN_AS: Final[dict[str, UID]] = {
    RLELossless: RLELossless,
    JPEG2000Lossless: JPEG2000Lossless,
    JPEG2000: JPEG2000Lossless,
    HTJ2KLossless: JPEG2000Lossless,
    HTJ2KLosslessRPCL: JPEG2000Lossless,
    HTJ2K: JPEG2000Lossless,
    JPEGLSLossless: JPEGLSLossless,
    JPEGLSNearLossless: JPEGLSLossless,
    JPEGBaseline8Bit: JPEGLSLossless,
    JPEGExtended12Bit: JPEGLSLossless,
    JPEGLossless: JPEGLSLossless,
    JPEGLosslessSV1: JPEGLSLossless,
}
# Named, because the one pydicom tries first for run lengths ends the process when it meets a size it does not like.
_WRITERS: Final[dict[str, str]] = {
    RLELossless: "pylibjpeg",
    JPEG2000Lossless: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
}
# Transfer syntaxes that may have lost something, and what the method is called (PS3.3 C.7.6.1.1.5.1).
LOSSY: Final[dict[str, str]] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_NATIVE: Final = (
    parse.IMPLICIT_VR_LITTLE_ENDIAN,
    parse.EXPLICIT_VR_LITTLE_ENDIAN,
    parse.EXPLICIT_VR_BIG_ENDIAN,
    _DEFLATED,
)
_ITEM_HEAD_BYTES: Final = 8
_LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
_LOSSY_METHOD: Final = 0x00282114
_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PLANAR_CONFIGURATION: Final = 0x00280006
_BITS_ALLOCATED: Final = 0x00280100

Mask = npt.NDArray[np.bool_]


def clean_frames(file: BinaryIO, header: Header, boxes: Sequence[Box]) -> CleanedPixels:
    """Return all frames with the regions filled in black.

    Raises ``DecodeError`` (``unsupported-transfer-syntax``) for what cannot be written: video, packed bits.
    """
    index = header.pixels
    if index is None or index.layout in (Layout.STREAM, Layout.UNMAPPED, Layout.PACKED):
        raise DecodeError(Code.UNSUPPORTED_TRANSFER_SYNTAX)
    mask = covered(boxes, index.format.rows, index.format.columns)
    is_palette = index.format.photometric_interpretation == "PALETTE COLOR"
    palette = decode.with_palette(file, header) if is_palette else header.dataset
    if not index.is_encapsulated:
        file, index = pixels.plain(file, index)
        cleaned = tuple(_native(file, palette, index, n, mask) for n in range(1, index.number_of_frames + 1))
        return CleanedPixels(header.transfer_syntax_uid, cleaned, len(boxes))
    return _compressed(file, header, palette, mask, len(boxes))


def _native(file: BinaryIO, palette: Dataset, index: PixelIndex, n: int, mask: Mask) -> bytes:
    """Return one frame, byte for byte, with the masked pixels overwritten."""
    declared = index.format
    data = bytearray(frames.read_ranges(file, frames.frame_range(index, n)))
    if declared.photometric_interpretation == "YBR_FULL_422":
        return _native_422(data, mask)
    width = declared.bits_allocated // 8
    if declared.is_float:
        kind = np.dtype(f"{'>' if index.layout is Layout.SWAPPED else '<'}f{width}")
    else:
        sign = "i" if declared.pixel_representation else "u"
        kind = np.dtype(f"{'>' if index.layout is Layout.SWAPPED and width > 1 else '<'}{sign}{width}")
    values = np.frombuffer(data, kind, declared.rows * declared.columns * declared.samples_per_pixel)
    if index.layout is Layout.SWAPPED and width == 1:
        # Bytes in big-endian words (OW) lie in pairs, the second first.
        return _native_swapped_bytes(data, palette, index, mask)
    _fill(_arranged(values, index), mask, palette, index.format.photometric_interpretation)
    return bytes(data)


def _arranged(values: npt.NDArray[Any], index: PixelIndex) -> npt.NDArray[Any]:
    """Return a view as (rows, columns) or (rows, columns, samples), whichever way colour lies."""
    declared = index.format
    if declared.samples_per_pixel == 1:
        return values.reshape(declared.rows, declared.columns)
    if declared.planar_configuration == 1:
        return np.moveaxis(values.reshape(declared.samples_per_pixel, declared.rows, declared.columns), 0, 2)
    return values.reshape(declared.rows, declared.columns, declared.samples_per_pixel)


def _native_swapped_bytes(data: bytearray, palette: Dataset, index: PixelIndex, mask: Mask) -> bytes:
    swapped = np.frombuffer(data[: len(data) // 2 * 2], np.uint16).byteswap().view(np.uint8).copy()
    count = index.format.rows * index.format.columns * index.format.samples_per_pixel
    if len(swapped) < count:
        raise DecodeError(Code.UNSUPPORTED_TRANSFER_SYNTAX)
    _fill(_arranged(swapped[:count], index), mask, palette, index.format.photometric_interpretation)
    return swapped.view(np.uint16).byteswap().tobytes() + bytes(data[len(swapped) :])


def _native_422(data: bytearray, mask: Mask) -> bytes:
    """Two pixels share their colours: Y, Y, CB, CR (PS3.3 C.7.6.3.1.2)."""
    values = np.frombuffer(data, np.uint8)
    pairs = values[: mask.size // 2 * 4].reshape(-1, 4)
    marked = mask.ravel()[: mask.size // 2 * 2].reshape(-1, 2)
    pairs[:, :2][marked] = 0
    pairs[:, 2:][marked.any(axis=1)] = 128
    return bytes(data)


def _fill(values: npt.NDArray[Any], mask: Mask, palette: Dataset, photometric: str) -> None:
    """Overwrite the masked pixels with black."""
    if values.ndim == 3:
        values[mask] = (0, 128, 128) if photometric.startswith("YBR") else 0
    elif photometric == "PALETTE COLOR":
        values[mask] = _darkest_index(palette, values)
    else:
        values[mask] = values.max() if photometric == "MONOCHROME1" else values.min()


def _darkest_index(palette: Dataset, values: npt.NDArray[Any]) -> int:
    """Return the index of the darkest colour of the palette that the frame uses."""
    used = np.unique(values)
    colours = apply_color_lut(used.reshape(1, -1), palette).astype(np.int64).sum(axis=2)[0]
    return int(used[int(colours.argmin())])


def _compressed(file: BinaryIO, header: Header, palette: Dataset, mask: Mask, regions: int) -> CleanedPixels:
    index = header.pixels
    if index is None:
        raise NoPixelsError
    syntax = REWRITTEN_AS.get(header.transfer_syntax_uid, ExplicitVRLittleEndian)
    photometric = "RGB" if index.format.samples_per_pixel > 1 else header.photometric_interpretation
    filled = []
    width = 0
    for n in range(1, index.number_of_frames + 1):
        samples = np.array(samples_of(file, index, n))
        _fill(samples, mask, palette, photometric)
        width = samples.dtype.itemsize
        filled.append(samples)
    written: tuple[bytes, ...]
    written_as = photometric
    try:
        written, written_as = _encoded(filled, syntax, index, photometric)
    except Exception:
        # Signed values in JPEG-LS, 32 bits: what the lossless relative cannot hold is written uncompressed.
        syntax = ExplicitVRLittleEndian
    if syntax == ExplicitVRLittleEndian:
        written, written_as = tuple(samples.tobytes() for samples in filled), photometric
    attributes: dict[int, str | None] = {}
    if written_as != header.photometric_interpretation:
        attributes[_PHOTOMETRIC_INTERPRETATION] = written_as
    if index.format.samples_per_pixel > 1:
        attributes[_PLANAR_CONFIGURATION] = "0"
    if width * 8 != index.format.bits_allocated:
        attributes[_BITS_ALLOCATED] = str(width * 8)
    if header.transfer_syntax_uid in LOSSY and elements.text(header.dataset, _LOSSY_IMAGE_COMPRESSION) != "01":
        attributes[_LOSSY_IMAGE_COMPRESSION] = "01"
        attributes[_LOSSY_METHOD] = LOSSY[header.transfer_syntax_uid]
    return CleanedPixels(str(syntax), written, regions, attributes)


def _encoded(
    filled: Sequence[npt.NDArray[Any]], syntax: UID, index: PixelIndex, photometric: str
) -> tuple[tuple[bytes, ...], str]:
    if syntax == ExplicitVRLittleEndian:
        return (), photometric
    if syntax == JPEG2000Lossless and photometric == "RGB":
        photometric = "YBR_RCT"
    encoder = get_encoder(syntax)
    declared = index.format
    options: dict[str, Any] = {
        "rows": declared.rows,
        "columns": declared.columns,
        "samples_per_pixel": declared.samples_per_pixel,
        "number_of_frames": 1,
        "bits_allocated": filled[0].dtype.itemsize * 8,
        "bits_stored": min(declared.bits_stored, filled[0].dtype.itemsize * 8),
        "pixel_representation": declared.pixel_representation,
        "photometric_interpretation": photometric,
        "planar_configuration": 0,
    }
    plugin = _WRITERS[syntax]
    return (
        tuple(bytes(encoder.encode(samples, encoding_plugin=plugin, **options)) for samples in filled),
        photometric,
    )


def load_encoders() -> None:
    """Load what writes each syntax, for a process that can open no file later."""
    samples = np.zeros((64, 64), np.uint8)
    options: dict[str, Any] = {
        "rows": 64,
        "columns": 64,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": 8,
    }
    options |= {"bits_stored": 8, "pixel_representation": 0, "planar_configuration": 0}
    for syntax, plugin in _WRITERS.items():
        encoder = get_encoder(syntax)
        encoder.encode(samples, encoding_plugin=plugin, photometric_interpretation="MONOCHROME2", **options)


def reopened(cleaned: CleanedPixels, header: Header) -> tuple[BinaryIO, Header]:
    """Return cleaned frames as a file, and a header that finds them there: to look at what will really be released."""
    index = header.pixels
    if index is None:
        raise NoPixelsError
    photometric = cleaned.attributes.get(_PHOTOMETRIC_INTERPRETATION) or index.format.photometric_interpretation
    bits = int(cleaned.attributes.get(_BITS_ALLOCATED) or index.format.bits_allocated)
    planar = cleaned.attributes.get(_PLANAR_CONFIGURATION)
    declared = dataclasses.replace(
        index.format,
        photometric_interpretation=photometric,
        bits_allocated=bits,
        planar_configuration=index.format.planar_configuration if planar is None else int(planar),
    )
    lengths = [len(frame) for frame in cleaned.frames]
    syntax = cleaned.transfer_syntax_uid
    native = syntax in _NATIVE
    # A stored index takes fragments to lie an item head of 8 bytes apart, as they do in a file.
    file = io.BytesIO((b"" if native else bytes(_ITEM_HEAD_BYTES)).join(cleaned.frames))
    starts = [0, *itertools.accumulate(length + _ITEM_HEAD_BYTES for length in lengths[:-1])]
    there = dataclasses.replace(
        index,
        transfer_syntax_uid=parse.EXPLICIT_VR_LITTLE_ENDIAN if syntax == _DEFLATED else syntax,
        layout=(Layout.SWAPPED if syntax == parse.EXPLICIT_VR_BIG_ENDIAN else Layout.NATIVE)
        if native
        else Layout.ENCAPSULATED,
        number_of_frames=len(lengths),
        offset=0,
        length=sum(lengths),
        format=declared,
        fragment_offsets=array("Q", [] if native else starts),
        fragment_lengths=array("I", [] if native else lengths),
        frame_starts=array("I", [] if native else range(len(lengths) + 1)),
    )
    return file, dataclasses.replace(
        header, pixels=there, photometric_interpretation=photometric, transfer_syntax_uid=there.transfer_syntax_uid
    )
