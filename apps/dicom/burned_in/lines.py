"""Boxes that belong to one line of text."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from .boxes import Box, covered

COVERED: Final = 0.8
"""A box of which so much lies in another is not looked at by itself."""


def is_part(box: Box, others: Sequence[Box]) -> bool:
    """Return whether a box is all but a little of one that is text already: another look at the same line."""
    for other in others:
        both = box.common(other)
        if both.width > 0 and both.height > 0 and both.area >= COVERED * box.area:
            return True
    return False


def outer_of(boxes: Sequence[Box], taken: npt.NDArray[np.bool_]) -> list[Box]:
    """Return the boxes, the largest first, that hardly lie in what is taken of the picture or in larger ones."""
    taken, outer = taken.copy(), []
    for box in sorted(boxes, key=lambda each: -each.area):
        inside = taken[box.top : box.bottom, box.left : box.right]
        if inside.size and float(inside.mean()) < COVERED:
            outer.append(box)
        inside[:] = True
    return outer


def leading(lines: Sequence[Box], rows: int, columns: int) -> list[Box]:
    """Return the lines, the largest first, that are not all but in larger ones of about their height.

    Letters of lines that lie above each other are found once more as a line across. In a much higher box, of several
    lines, a line is still one of its own.
    """
    lines = sorted(lines, key=lambda each: -each.area)
    leading_ = []
    for number, line in enumerate(lines):
        high = min(line.width, line.height)
        like = [each for each in lines[:number] if each.meets(line) and min(each.width, each.height) < 1.5 * high]
        if like:
            inside = covered(like, rows, columns)[line.top : line.bottom, line.left : line.right]
            if float(inside.mean()) >= COVERED:
                continue
        leading_.append(line)
    return leading_


def is_in_line(box: Box, line: Box) -> bool:
    """Return whether a box goes on a line of text: as high, at its height, and not further from its end than a word."""
    if line.height > line.width:
        box, line = box.turned(), line.turned()
    apart = max(box.left - line.right, line.left - box.right)
    return (
        # What is much lower is some letters without ascenders, or a line of its own.
        0.67 * box.height <= box.width < (6 if 2 * box.height > line.height else 2.5) * line.height
        and box.height < 1.2 * line.height + 2
        and abs(box.top + box.bottom - line.top - line.bottom) < 0.7 * line.height
        and -line.height < apart < 1.5 * line.height
    )


def lines_of(boxes: Sequence[Box]) -> list[Box]:
    """Return whole lines of the boxes that stand in one: their ink is told better, and where it ends."""
    lines: list[Box] = []
    # The highest first: a few small letters go on a line, not the other way round.
    for box in sorted(boxes, key=lambda each: (-min(each.width, each.height), each)):
        whole = box
        while (line := next((each for each in lines if _is_one(whole, each)), None)) is not None:
            lines.remove(line)
            whole = whole.joined(line)
        lines.append(whole)
    return lines


def _is_one(box: Box, line: Box) -> bool:
    whole = box.joined(line)
    low, high = sorted((min(box.width, box.height), min(line.width, line.height)))
    is_as_high = min(whole.width, whole.height) <= 1.25 * min(line.width, line.height) + 1
    is_same = 1.5 * low > high and (is_part(box, (line,)) or is_part(line, (box,)))
    # A few small letters are near those that they belong to.
    between = max(whole.width - box.width - line.width, whole.height - box.height - line.height)
    goes_on = is_in_line(box, line) or is_in_line(line, box)
    return is_as_high and (is_same or (goes_on and between < 1.5 * low))
