"""A header as a list of JSON values and back: what may cross from a limited child, checked field by field."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any, Final

from apps.dicom.errors import FrameError
from apps.dicom.frames import PixelIndex
from apps.dicom.parse import NO_DATASET, Header

_MAX_TEXT: Final = 1 << 20


class NotPlainError(ValueError):
    """The values are not those of a header."""


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _MAX_TEXT:
        raise NotPlainError
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise NotPlainError
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise NotPlainError
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise NotPlainError
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(part) for part in value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_number(part) for part in value)


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_READERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: _text,
    bool: _bool,
    int: _integer,
    int | None: _optional(_integer),
    float | None: _optional(_number),
    datetime.date | None: _optional(datetime.date.fromisoformat),
    datetime.time | None: _optional(datetime.time.fromisoformat),
    tuple[str, ...]: _texts,
    tuple[float, ...]: _numbers,
}
_ELSEWHERE: Final = ("dataset", "pixels")
_FIELDS: Final = tuple(
    (name, _READERS[kind]) for name, kind in Header.__annotations__.items() if name not in _ELSEWHERE
)
_NAMES: Final = tuple(name for name, _ in _FIELDS)
_DATES: Final = tuple(
    at for at, name in enumerate(_NAMES) if Header.__annotations__[name] in (datetime.date | None, datetime.time | None)
)


def to_plain(header: Header) -> tuple[list[Any], bytes]:
    """Return the header's facts as JSON values, and its pixel index as bytes (empty without pixels)."""
    values = [getattr(header, name) for name in _NAMES]
    for at in _DATES:
        if values[at] is not None:
            values[at] = values[at].isoformat()
    return values, header.pixels.to_bytes() if header.pixels is not None else b""


def from_plain(values: Any, index: bytes) -> Header:
    """Return the header, with NO_DATASET; raises NotPlainError for anything that `to_plain` does not make."""
    if type(values) is not list or len(values) != len(_FIELDS):
        raise NotPlainError
    try:
        facts = {name: read(value) for (name, read), value in zip(_FIELDS, values, strict=True)}
        pixels = PixelIndex.from_bytes(index) if index else None
    except (TypeError, ValueError, FrameError) as error:
        raise NotPlainError from error
    return Header(dataset=NO_DATASET, pixels=pixels, **facts)
