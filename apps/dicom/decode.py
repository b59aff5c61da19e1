"""Frames for those who ask: as samples, as a picture, as a thumbnail; and whole instances uncompressed."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, ExplicitVRLittleEndian

from . import elements, frames, json_model, parse, pixels
from .errors import Code, DecodeError, DicomError, FrameError, NoPixelsError
from .frames import Layout, PixelIndex
from .grayscale import Window, to_grey
from .parse import Header
from .pixels import can_decode
from .uid import IMPLEMENTATION_CLASS_UID

__all__ = [
    "MEDIA_TYPES",
    "Viewport",
    "Window",
    "can_decode",
    "decode_frame",
    "rendered",
    "thumbnail",
    "to_explicit_little_endian",
]

MEDIA_TYPES: Final = ("image/jpeg", "image/png")
MAX_VIEWPORT: Final = 8192
MAX_TRANSCODED_BYTES: Final = 1 << 30
THUMBNAIL_SIZE: Final = 256

_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
_PALETTE_TAGS: Final = (
    *range(0x00281101, 0x00281104),
    *range(0x00281201, 0x00281204),
    *range(0x00281221, 0x00281224),
)

Picture = npt.NDArray[np.uint8]


class Viewport(NamedTuple):
    """The size to fit a picture into, and the part of the frame to show (PS3.18 8.3.5.1.3), all in pixels.

    A part of 0 x 0 is the whole frame. The aspect ratio is kept.
    """

    width: int
    height: int
    source_x: int = 0
    source_y: int = 0
    source_width: int = 0
    source_height: int = 0


def decode_frame(file: BinaryIO, index: PixelIndex | None, n: int) -> bytes:
    """Return frame ``n`` (from 1) uncompressed, as in Explicit VR Little Endian.

    Native frames come as they are stored, byte order put right. Compressed ones come decoded, colour as RGB
    by pixel. Bits of a 1-bit frame are packed from its first byte on. Only the frame's own bytes are read,
    unless the whole data set is deflated. Raises as ``pixels.read_frame`` does.
    """
    if index is None:
        raise NoPixelsError
    if not 1 <= n <= index.number_of_frames:
        raise FrameError(Code.NO_SUCH_FRAME)
    if index.is_encapsulated:
        return pixels.read_frame(file, index, n).samples.tobytes()
    file, index = pixels.plain(file, index)
    if index.layout is Layout.PACKED:
        return _packed_frame(file, index, n)
    data = frames.read_ranges(file, frames.frame_range(index, n))
    if index.layout is Layout.SWAPPED:
        if index.format.bits_allocated == 8:
            return pixels.read_frame(file, index, n).samples.tobytes()
        return _swapped(data, index.format.bits_allocated // 8)
    return data


def _swapped(data: bytes, width: int) -> bytes:
    if width not in (2, 4, 8):
        return data
    return np.frombuffer(data[: len(data) // width * width], dtype=f"u{width}").byteswap().tobytes()


def _packed_frame(file: BinaryIO, index: PixelIndex, n: int) -> bytes:
    bits = index.format.frame_bits
    first = (n - 1) * bits
    last = first + bits
    covering = frames.read_ranges(file, [(index.offset + first // 8, (last + 7) // 8 - first // 8)])
    unpacked = np.unpackbits(np.frombuffer(covering, dtype=np.uint8), bitorder="little")
    return np.packbits(unpacked[first % 8 : first % 8 + bits], bitorder="little").tobytes()


def rendered(
    file: BinaryIO,
    frame: int = 1,
    window: tuple[float, float] | Window | None = None,
    size: tuple[int, int] | Viewport | None = None,
    media_type: str = "image/jpeg",
    *,
    quality: int = 90,
    header: Header | None = None,
) -> bytes:
    """Return a frame as a picture for people: JPEG or PNG bytes without any metadata.

    ``frame`` counts from 1. ``window`` is (centre, width) in the units of the modality; by default the file's
    own. ``size`` is the (width, height) to fit into, up or down, or a ``Viewport``; by default the frame's own.
    Pass ``header`` if the file has been parsed already. Raises ``NoPixelsError``, ``FrameError``, ``DecodeError``
    (also ``bad-argument``), ``RejectedError``.
    """
    if media_type not in _FORMATS or not 1 <= quality <= 100:
        raise DecodeError(Code.BAD_ARGUMENT)
    header = header or parse.parse_header(file)
    picture = _picture(file, header, frame, None if window is None else Window(*window))
    image = _with_square_pixels(Image.fromarray(picture), header)
    if size is not None:
        image = _fitted(image, Viewport(*size))
    return _encoded(image, media_type, quality)


def thumbnail(file: BinaryIO, header: Header | None = None, size: int = THUMBNAIL_SIZE) -> bytes:
    """Return a JPEG of the middle frame, at most ``size`` x ``size`` pixels, aspect ratio kept.

    Raises as ``rendered`` does.
    """
    if not 1 <= size <= MAX_VIEWPORT:
        raise DecodeError(Code.BAD_ARGUMENT)
    header = header or parse.parse_header(file)
    picture = _picture(file, header, (header.number_of_frames + 1) // 2, None)
    image = _with_square_pixels(Image.fromarray(picture), header)
    image.thumbnail((size, size), Image.Resampling.BOX if max(image.size) > 4 * size else Image.Resampling.LANCZOS)
    return _encoded(image, "image/jpeg", 85)


def _picture(file: BinaryIO, header: Header, n: int, window: Window | None) -> Picture:
    """Return the frame as 8-bit grey (rows, columns) or RGB (rows, columns, 3)."""
    frame = pixels.read_frame(file, header.pixels, n)
    try:
        return _shown(file, header, n, frame, window)
    except DicomError:
        raise
    except MemoryError as error:
        raise DecodeError(Code.TOO_MANY_PIXELS) from error
    except Exception as error:
        # Look-up tables come from the file as well; numpy and pydicom answer damage in many ways.
        raise DecodeError(Code.UNDECODABLE) from error


def _shown(file: BinaryIO, header: Header, n: int, frame: pixels.Frame, window: Window | None) -> Picture:
    samples = frame.samples
    photometric = frame.photometric_interpretation
    if photometric == "PALETTE COLOR":
        return _eight_bit(apply_color_lut(samples, with_palette(file, header)))
    if samples.ndim == 3:
        return _eight_bit(samples[..., :3])
    return to_grey(samples, header.dataset, n, is_monochrome1=photometric == "MONOCHROME1", window=window)


def _eight_bit(samples: npt.NDArray[Any]) -> Picture:
    if samples.dtype == np.uint8:
        return samples
    top = int(samples.max(initial=0))
    # Colour of more than 8 bits: the file's own depth is not reliable, the values are.
    shift = max(0, top.bit_length() - 8)
    return (samples >> shift).astype(np.uint8)


def with_palette(file: BinaryIO, header: Header) -> Dataset:
    """Return the data set with its palette, which may be large enough to have been left in the file."""
    missing = [tag for tag in _PALETTE_TAGS if tag in header.dataset.places]
    if not missing:
        return header.dataset
    dataset = Dataset()
    for tag in _PALETTE_TAGS:
        if tag in header.dataset:
            dataset[tag] = header.dataset[tag]
    for tag in missing:
        vr, value = json_model.bulk_data(file, header, f"{tag:08X}")
        dataset[tag] = DataElement(tag, vr, value)
    return dataset


def _with_square_pixels(image: Image.Image, header: Header) -> Image.Image:
    """Stretch the shorter side, if the pixels are not square."""
    spacing = header.pixel_spacing[:2]
    if len(spacing) != 2:
        spacing = elements.numbers(header.dataset, 0x00280034)[:2]
    if len(spacing) != 2 or min(spacing) <= 0:
        return image
    ratio = spacing[0] / spacing[1]
    if not 0.1 <= ratio <= 10 or 0.98 <= ratio <= 1.02:
        return image
    width, height = image.size
    target = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    return image.resize(target, Image.Resampling.BILINEAR) if max(target) <= 2 * MAX_VIEWPORT else image


def _fitted(image: Image.Image, viewport: Viewport) -> Image.Image:
    if not (1 <= viewport.width <= MAX_VIEWPORT and 1 <= viewport.height <= MAX_VIEWPORT):
        raise DecodeError(Code.BAD_ARGUMENT)
    if viewport.source_width or viewport.source_height or viewport.source_x or viewport.source_y:
        left, top = viewport.source_x, viewport.source_y
        right = left + (viewport.source_width or image.width - left)
        bottom = top + (viewport.source_height or image.height - top)
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise DecodeError(Code.BAD_ARGUMENT)
        image = image.crop((left, top, right, bottom))
    scale = min(viewport.width / image.width, viewport.height / image.height)
    target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if target == image.size else image.resize(target, Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, media_type: str, quality: int) -> bytes:
    out = io.BytesIO()
    if media_type == "image/png":
        image.save(out, "PNG", compress_level=4)
    else:
        image.save(out, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return out.getvalue()


def to_explicit_little_endian(file: BinaryIO, header: Header | None = None) -> bytes:
    """Return the instance as a Part 10 file in Explicit VR Little Endian, pixels uncompressed.

    A file that is so already comes back byte for byte. Everything is held in memory: ``DecodeError``
    (``too-many-pixels``) when the frames add up to more than 1 GiB, ``unsupported-transfer-syntax`` for video.
    """
    header = header or parse.parse_header(file)
    if header.transfer_syntax_uid == parse.EXPLICIT_VR_LITTLE_ENDIAN and header.has_file_meta:
        file.seek(0)
        return file.read()
    dataset = Dataset()
    try:
        _copy_elements(file, header, dataset)
        if header.pixels is not None:
            _put_pixels(file, header.pixels, dataset)
        return _written(header, dataset)
    except DicomError:
        raise
    except MemoryError as error:
        raise DecodeError(Code.TOO_MANY_PIXELS) from error
    except Exception as error:
        # Writing converts every element for the first time, with all that pydicom may find wrong.
        raise DecodeError(Code.UNDECODABLE) from error


def _copy_elements(file: BinaryIO, header: Header, dataset: Dataset) -> None:
    source = header.dataset
    for element in source:
        if element.tag.element != 0:
            dataset[element.tag] = element
    for number, place in _other_places(header).items():
        _, value = json_model.bulk_data(file, header, f"{number:08X}")
        dataset[number] = DataElement(number, place.vr, value)
    if header.transfer_syntax_uid == parse.EXPLICIT_VR_BIG_ENDIAN:
        for element in _words(dataset):
            element.value = json_model.little_endian(element.value, element.VR, is_little_endian=False)


def _other_places(header: Header) -> Mapping[int, parse.ElementPlace]:
    pixel_tag = header.pixels.tag if header.pixels is not None else parse.PIXEL_DATA
    return {tag: place for tag, place in header.dataset.places.items() if tag != pixel_tag}


def _words(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset.iterall():
        if element.VR in ("OW", "OL", "OF", "OD", "OV") and isinstance(element.value, bytes):
            yield element


def _put_pixels(file: BinaryIO, index: PixelIndex, dataset: Dataset) -> None:
    if index.layout in (Layout.STREAM, Layout.UNMAPPED):
        raise DecodeError(Code.UNSUPPORTED_TRANSFER_SYNTAX)
    if index.format.decoded_frame_bytes * index.number_of_frames > MAX_TRANSCODED_BYTES:
        raise DecodeError(Code.TOO_MANY_PIXELS)
    if index.is_encapsulated:
        decoded = [pixels.read_frame(file, index, n) for n in range(1, index.number_of_frames + 1)]
        first = decoded[0]
        value = b"".join(frame.samples.tobytes() for frame in decoded)
        dataset.PhotometricInterpretation = first.photometric_interpretation
        dataset.BitsAllocated = first.samples.dtype.itemsize * 8
        if first.samples.ndim == 3:
            dataset.PlanarConfiguration = 0
        for tag in (0x7FE00001, 0x7FE00002):
            if tag in dataset:
                del dataset[tag]
    else:
        file, index = pixels.plain(file, index)
        value = frames.read_ranges(file, [(index.offset, index.length)])
        if index.layout is Layout.SWAPPED:
            width = 2 if index.vr == "OW" and index.format.bits_allocated <= 16 else index.format.bits_allocated // 8
            value = _swapped(value, width)
    vr = index.vr if index.format.is_float else ("OB" if dataset.get("BitsAllocated", 8) <= 8 else "OW")
    dataset[index.tag] = DataElement(index.tag, vr, value + b"\0" * (len(value) % 2))


def _written(header: Header, dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(header.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(header.sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()
