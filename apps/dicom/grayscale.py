"""From stored values to grey levels: the grayscale pipeline of PS3.4 N.2 (modality LUT, VOI LUT, presentation)."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from . import elements
from .errors import Code, DecodeError

Samples = npt.NDArray[Any]
Grey = npt.NDArray[np.uint8]

_PERCENTILES: Final = (0.5, 99.5)
_MAX_SAMPLED: Final = 1 << 18
_FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})

_SHARED_GROUPS: Final = 0x52009229
_PER_FRAME_GROUPS: Final = 0x52009230
_PIXEL_VALUE_TRANSFORMATION: Final = 0x00289145
_FRAME_VOI_LUT: Final = 0x00289132
_MODALITY_LUT_SEQUENCE: Final = 0x00283000
_VOI_LUT_SEQUENCE: Final = 0x00283010


class Window(NamedTuple):
    """A window of interest (PS3.3 C.11.2.1.2), in output units of the modality LUT (Hounsfield units for CT)."""

    center: float
    width: float
    function: str = "LINEAR"


def to_grey(stored: Samples, dataset: Dataset, frame: int, *, is_monochrome1: bool, window: Window | None) -> Grey:
    """Return a frame of stored values as grey levels 0 (black) to 255, same shape.

    ``window`` overrides what the file says; without either, the span of the values decides. ``frame`` counts
    from 1 and picks the functional groups of a multi-frame instance.
    """
    values = _modality_values(stored, dataset, frame)
    if window is not None:
        _check(window)
        grey = _windowed(values, window)
    else:
        grey = _as_the_file_says(values, stored, dataset, frame)
    shape = elements.text(dataset, 0x20500020)
    is_inverse = shape == "INVERSE" or (is_monochrome1 and shape != "IDENTITY")
    return np.subtract(255, grey, dtype=np.uint8) if is_inverse else grey


def _check(window: Window) -> None:
    finite = np.isfinite(window.center) and np.isfinite(window.width)
    if not finite or window.width <= 0 or window.function not in _FUNCTIONS:
        raise DecodeError(Code.BAD_ARGUMENT)


def _groups(dataset: Dataset, frame: int, macro: int) -> Iterator[Dataset]:
    """Yield the data sets that may hold an attribute for this frame, the most specific first."""
    for tag, item in ((_PER_FRAME_GROUPS, frame - 1), (_SHARED_GROUPS, 0)):
        items = _items(dataset, tag)
        if item < len(items):
            yield from _items(items[item], macro)[:1]
    yield dataset


def _items(dataset: Dataset, tag: int) -> list[Dataset]:
    if tag not in dataset:
        return []
    value = dataset[tag].value
    return list(value) if isinstance(value, list) or hasattr(value, "__len__") else []


def _modality_values(stored: Samples, dataset: Dataset, frame: int) -> Samples:
    if _items(dataset, _MODALITY_LUT_SEQUENCE):
        try:
            return apply_modality_lut(stored, dataset)
        except (AttributeError, ValueError, IndexError, KeyError, TypeError):
            return stored
    for group in _groups(dataset, frame, _PIXEL_VALUE_TRANSFORMATION):
        slope = _first(group, 0x00281053)
        intercept = _first(group, 0x00281052)
        if slope is None and intercept is None:
            continue
        slope = slope or 1.0
        intercept = intercept or 0.0
        if (slope, intercept) == (1.0, 0.0):
            return stored
        return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return stored


def _first(dataset: Dataset, tag: int) -> float | None:
    values = elements.numbers(dataset, tag)
    return values[0] if values else None


def _as_the_file_says(values: Samples, stored: Samples, dataset: Dataset, frame: int) -> Grey:
    if _items(dataset, _VOI_LUT_SEQUENCE):
        try:
            looked_up = apply_voi(values.astype(np.int64) if values.dtype.kind == "f" else values, dataset)
            return _stretched(looked_up, float(looked_up.min()), float(looked_up.max()))
        except (AttributeError, ValueError, IndexError, KeyError, TypeError, NotImplementedError):
            pass
    for group in _groups(dataset, frame, _FRAME_VOI_LUT):
        center, width = _first(group, 0x00281050), _first(group, 0x00281051)
        if center is not None and width is not None and width > 0:
            function = elements.text(group, 0x00281056).upper()
            return _windowed(values, Window(center, width, function if function in _FUNCTIONS else "LINEAR"))
    return _by_span(values, stored, dataset)


def _by_span(values: Samples, stored: Samples, dataset: Dataset) -> Grey:
    bits_stored = elements.integer(dataset, 0x00280101) or 0
    if stored.dtype == np.uint8 and bits_stored == 8 and values is stored:
        return stored
    sampled = values
    if values.size > _MAX_SAMPLED:
        step = int(np.ceil(np.sqrt(values.size / _MAX_SAMPLED)))
        sampled = values[::step, ::step]
        stored = stored[::step, ::step]
    known = np.isfinite(sampled)
    padding = elements.integer(dataset, 0x00280120)
    if padding is not None:
        known &= stored != padding
    sampled = sampled[known]
    if sampled.size == 0:
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = (float(part) for part in np.percentile(sampled, _PERCENTILES))
    if high <= low:
        low, high = float(sampled.min()), float(sampled.max())
    return _stretched(values, low, high)


def _stretched(values: Samples, low: float, high: float) -> Grey:
    if high <= low:
        return np.where(values > low, 255, 0).astype(np.uint8) if low > 0 else np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return _to_bytes(scaled)


def _windowed(values: Samples, window: Window) -> Grey:
    center, width = window.center, window.width
    if values.dtype in (np.uint8, np.int8, np.uint16, np.int16):
        # A table of all values is much quicker than arithmetic on all samples.
        span = np.arange(-32768, 65536, dtype=np.float32)
        return _to_bytes(_window_levels(span, center, width, window.function))[values.astype(np.int32) + 32768]
    return _to_bytes(_window_levels(values.astype(np.float32), center, width, window.function))


def _window_levels(values: Samples, center: float, width: float, function: str) -> Samples:
    if function == "SIGMOID":
        return 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60.0, 60.0)))
    if function == "LINEAR_EXACT":
        return ((values - center) / width + 0.5) * 255.0
    if width <= 1:
        return np.where(values > center - 0.5, 255.0, 0.0)
    return ((values - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0


def _to_bytes(levels: Samples) -> Grey:
    return np.clip(np.nan_to_num(levels, nan=0.0, posinf=255.0, neginf=0.0) + 0.5, 0, 255).astype(np.uint8)
