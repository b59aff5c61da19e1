"""The query parameters of rendered resources (PS3.18 8.3.5): window, viewport, quality."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import QueryDict

from apps.dicom.decode import MAX_VIEWPORT, Viewport
from apps.dicom.grayscale import Window
from apps.dicomweb.errors import BadRequestError

_NUMBER = re.compile(r"[+-]?[0-9]{1,7}(\.[0-9]{1,6})?")
_FUNCTIONS = {"": "LINEAR", "linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}


@dataclass(frozen=True)
class Rendering:
    """How to draw a frame; None leaves it to the file. Annotations and colour profiles are ignored."""

    window: Window | None
    viewport: Viewport | None
    quality: int


def parse_rendering(query: QueryDict) -> Rendering:
    """Read the parameters; raises BadRequestError."""
    return Rendering(_window(query.get("window", "")), _viewport(query.get("viewport", "")), _quality(query))


def _window(text: str) -> Window | None:
    if not text:
        return None
    centre, width, function, *rest = [*(part.strip() for part in text.split(",")), "", ""][:4]
    is_number = _NUMBER.fullmatch(centre) and _NUMBER.fullmatch(width)
    if not is_number or float(width) <= 0 or any(rest) or function.lower() not in _FUNCTIONS:
        raise BadRequestError("window is a centre, a width and a function: linear, linear-exact or sigmoid.")
    return Window(float(centre), float(width), _FUNCTIONS[function.lower()])


def _viewport(text: str) -> Viewport | None:
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 6) or not all(part.isascii() and part.isdigit() for part in parts if part):
        raise BadRequestError("viewport is a width and a height in pixels, and the part of the frame to show.")
    width, height, *source = (int(part or 0) for part in parts)
    if not (1 <= width <= MAX_VIEWPORT and 1 <= height <= MAX_VIEWPORT):
        raise BadRequestError(f"A viewport is 1 to {MAX_VIEWPORT} pixels wide and high.")
    return Viewport(width, height, *source)


def _quality(query: QueryDict) -> int:
    text = query.get("quality", "90")
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise BadRequestError("quality is a whole number from 1 to 100.")
    return int(text)
