"""Blots: what the detector made of several lines at once, looking from afar."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from .boxes import Box, covered
from .plausible import LEGIBLE, read_either_way

Picture = npt.NDArray[np.uint8]

_LOWER: Final = 0.6
"""A line is one of several of a blot when it is lower than this part of it."""
_THROUGH: Final = 0.9
"""A line runs through a blot when it takes so much of its width."""
_GROUND: Final = 8
"""So many grey levels from the ground, and something is written there."""
_LEAST: Final = 8
"""Rows that letters need."""


def without_blots(picture: Picture, boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes, of those that lower ones stand for only what is written beside these.

    A blot goes too when a line runs through all of it, and above and below that line nothing can be read.
    """
    kept = list(boxes)
    for blot in sorted(boxes, key=lambda each: -each.area):
        low = min(blot.width, blot.height)
        parts = [each for each in kept if each.meets(blot) and min(each.width, each.height) < _LOWER * low]
        if parts:
            kept.remove(blot)
            rest = _rest(picture, blot, parts)
            if rest is not None and not any(_is_all(picture, blot, each) for each in parts):
                kept.append(rest)
    return kept


def _rest(picture: Picture, blot: Box, parts: Sequence[Box]) -> Box | None:
    """Return the part of a blot where anything but ground is beside the parts; None when nothing is."""
    rows, columns = picture.shape[:2]
    cut = picture[blot.top : blot.bottom, blot.left : blot.right].reshape(blot.height, blot.width, -1).astype(np.int16)
    rest = ~covered([part.grown(2) for part in parts], rows, columns)[blot.top : blot.bottom, blot.left : blot.right]
    away = np.abs(cut - np.median(cut, axis=(0, 1))).max(axis=2)
    down, across = np.nonzero(rest & (away > _GROUND))
    if not len(down):
        return None
    left, top = blot.left + int(across.min()), blot.top + int(down.min())
    right, bottom = blot.left + int(across.max()) + 1, blot.top + int(down.max()) + 1
    return Box(left, top, right, bottom).grown(2).common(blot)


def _is_all(picture: Picture, blot: Box, line: Box) -> bool:
    """Return whether a horizontal line is all that can be read in a blot."""
    if line.height > line.width or line.common(blot).width < _THROUGH * blot.width:
        return False
    above = Box(blot.left, blot.top, blot.right, line.top + 2)
    below = Box(blot.left, line.bottom - 2, blot.right, blot.bottom)
    strips = [strip for strip in (above, below) if strip.height >= _LEAST]
    read = [read_either_way(picture, strip) for strip in strips]
    return not any(len(each.letters) > 1 and each.confidence >= LEGIBLE for each in read)
