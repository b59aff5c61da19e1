"""What is looked at of an instance: its only frame, or of a cine some frames and what all of them have in common.

Letters stand still where anatomy moves. The brightest and the darkest value of each pixel over all frames show every
light and every dark letter of the cine, even one that is there for a single frame; the mean lets moving anatomy fade
behind what stands. With the first, the middle and the last frame that is six looks however long the cine is. A frame
that has little in common with the one looked at before (a page of a document, a change of view) is looked at too.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from apps.dicom import decode, limited, pixels
from apps.dicom.errors import Code, DecodeError
from apps.dicom.frames import Layout, PixelIndex
from apps.dicom.parse import Header

from .colours import most

Picture = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]

MAX_OTHER_FRAMES: Final = 60
"""So many frames that differ from those before are looked at; an instance with more is left to a person."""
_CHANGED: Final = 14.0
"""Mean difference in grey levels from which a frame is another view."""
STANDING: Final = 24
"""So many grey levels may lie between the brightest and the darkest of a pixel that stands: compression's noise."""


@dataclass(frozen=True, slots=True)
class View:
    """A picture to look at, and what of the instance it is."""

    picture: Picture
    name: str
    stands: npt.NDArray[np.bool_] | None = None
    """Of a cine: which pixels hardly change from frame to frame."""


class File(io.BytesIO):
    """An instance as a file, with the frame decoded last: an only one is looked at, and cleaned as often as needed."""

    last: tuple[int, Samples] | None = None


_is_limited = False


def decode_here() -> None:
    """Decode in this process from now on: it is a limited child itself."""
    global _is_limited
    _is_limited = True


class TooManyViewsError(Exception):
    """The frames differ so much that looking at some says nothing about the others."""


def samples_of(file: BinaryIO, index: PixelIndex, n: int) -> Samples:
    """Return frame ``n`` (from 1) as numbers; compressed ones are decoded in a limited child process, colour as RGB."""
    if not index.is_encapsulated:
        return pixels.read_frame(file, index, n).samples
    if isinstance(file, File) and file.last is not None and file.last[0] == n:
        return file.last[1]
    declared = index.format
    data = (decode if _is_limited else limited).decode_frame(file, index, n)
    count = declared.rows * declared.columns * declared.samples_per_pixel
    width = len(data) // max(1, count)
    if width not in (1, 2, 4) or width * count != len(data):
        raise DecodeError(Code.UNDECODABLE)
    kind = np.dtype(f"<{'i' if declared.pixel_representation else 'u'}{width}")
    shape = (declared.rows, declared.columns, declared.samples_per_pixel)
    samples = np.frombuffer(data, kind).reshape(shape if declared.samples_per_pixel > 1 else shape[:2])
    if isinstance(file, File):
        file.last = n, samples
    return samples


class Scale:
    """How stored values become grey levels, the same for all frames of an instance."""

    def __init__(self, palette: Dataset | None, first: list[Samples]) -> None:
        self.palette = palette
        values = np.concatenate([frame[:: max(1, frame.shape[0] // 512)].ravel() for frame in first]).astype(np.float32)
        self.low, self.high = float(values.min()), float(values.max())
        self.usual_low, self.usual_high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
        self.is_bytes = first[0].dtype == np.uint8

    @property
    def has_outliers(self) -> bool:
        """Whether few values lie so far out that at full range the rest would be one grey."""
        return not self.is_bytes and self.high - self.low > 2 * max(1.0, self.usual_high - self.usual_low)

    def picture(self, samples: Samples, *, full: bool = False) -> Picture:
        """Return a frame as bytes; of ``full`` range, or with the few extreme values cut off."""
        if self.palette is not None:
            samples = apply_color_lut(samples, self.palette)
        if samples.ndim == 3:
            top = int(samples.max(initial=0))
            coloured: Picture = (samples[..., :3] >> max(0, top.bit_length() - 8)).astype(np.uint8)
            return coloured
        if self.is_bytes:
            return samples.astype(np.uint8, copy=False)
        low, high = (self.low, self.high) if full else (self.usual_low, self.usual_high)
        scaled = (samples.astype(np.float32) - low) * (255.0 / max(1.0, high - low))
        return np.asarray(np.clip(scaled, 0, 255), dtype=np.uint8)


def views(file: BinaryIO, header: Header, source: BinaryIO | None = None) -> Iterator[View]:
    """Yield what is to be looked at; raises ``DicomError`` for what cannot be decoded, ``TooManyViewsError``.

    ``source``: the file with the palette, where the frames are in another one.
    """
    index = header.pixels
    if index is None:
        return
    count = index.number_of_frames
    chosen = sorted({1, (count + 1) // 2, count})
    first = {n: samples_of(file, index, n) for n in chosen}
    is_palette = header.photometric_interpretation == "PALETTE COLOR"
    scale = Scale(decode.with_palette(source or file, header) if is_palette else None, list(first.values()))
    if count > 1:
        yield from _of_cine(file, index, scale, first)
        return
    yield View(scale.picture(first[1]), "1")
    if scale.has_outliers:
        yield View(scale.picture(first[1], full=True), "1 full range")


def _of_cine(file: BinaryIO, index: PixelIndex, scale: Scale, first: dict[int, Samples]) -> Iterator[View]:
    def picture_of(n: int) -> Picture:
        return scale.picture(first[n] if n in first else samples_of(file, index, n))

    count = index.number_of_frames
    brightest = darkest = picture_of(1)
    seen, total = brightest.astype(np.int16), brightest.astype(np.float32)
    chosen, others = [1], 0
    for n in range(2, count + 1):
        picture = picture_of(n)
        brightest, darkest = np.maximum(brightest, picture), np.minimum(darkest, picture)
        total += picture
        is_other = float(np.abs(seen[::2, ::2] - picture[::2, ::2]).mean()) > _CHANGED
        if n in first or is_other:
            chosen.append(n)
            others += is_other
            if others > MAX_OTHER_FRAMES:
                raise TooManyViewsError
            seen = picture.astype(np.int16)
    change = brightest - darkest
    stands = most(change) <= STANDING
    for n in chosen:
        yield View(picture_of(n), str(n), stands)
    if scale.has_outliers:
        yield View(scale.picture(first[1], full=True), "1 full range", stands)
    yield View(brightest, "brightest", stands)
    yield View(darkest, "darkest", stands)
    yield View((total / count).astype(np.uint8), "mean", stands)


def is_stream(index: PixelIndex) -> bool:
    """Return whether frames cannot be told apart: video, or fragments nobody can assign."""
    return index.layout in (Layout.STREAM, Layout.UNMAPPED)
