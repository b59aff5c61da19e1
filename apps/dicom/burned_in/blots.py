"""Blots: what the detector made of several lines at once, looking from afar."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from .boxes import Box, covered
from .colours import most

Picture = npt.NDArray[np.uint8]

_LOWER: Final = 0.6
"""A line is one of several of a blot when it is lower than this part of it."""
_GROUND: Final = 8
"""So many grey levels from the ground, and something is written there."""


def without_blots(picture: Picture, boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes, of those that lower ones stand for only what is written beside these.

    Over tissue that is all of a blot: what is not ground may be a letter.
    """
    kept = list(boxes)
    for blot in sorted(boxes, key=lambda each: -each.area):
        low = min(blot.width, blot.height)
        parts = [each for each in kept if each.meets(blot) and min(each.width, each.height) < _LOWER * low]
        if parts:
            kept.remove(blot)
            rest = _rest(picture, blot, parts)
            if rest is not None:
                kept.append(rest)
    return kept


def _rest(picture: Picture, blot: Box, parts: Sequence[Box]) -> Box | None:
    """Return the part of a blot where anything but ground is beside the parts; None when nothing is."""
    rows, columns = picture.shape[:2]
    cut = picture[blot.top : blot.bottom, blot.left : blot.right].reshape(blot.height, blot.width, -1).astype(np.int16)
    rest = ~covered([part.grown(2) for part in parts], rows, columns)[blot.top : blot.bottom, blot.left : blot.right]
    away = most(np.abs(cut - np.median(cut, axis=(0, 1))))
    down, across = np.nonzero(rest & (away > _GROUND))
    if not len(down):
        return None
    left, top = blot.left + int(across.min()), blot.top + int(down.min())
    right, bottom = blot.left + int(across.max()) + 1, blot.top + int(down.max()) + 1
    return Box(left, top, right, bottom).grown(2).common(blot)
