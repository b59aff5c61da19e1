"""Rectangles in a frame."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Box(NamedTuple):
    """A rectangle in pixels of the frame: columns ``left`` to ``right`` and rows ``top`` to ``bottom``, ends out."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def area(self) -> int:
        return max(0, self.width) * max(0, self.height)

    def grown(self, pixels: int) -> "Box":
        """Return the rectangle with so many pixels more on each side."""
        return Box(self.left - pixels, self.top - pixels, self.right + pixels, self.bottom + pixels)

    def turned(self) -> "Box":
        """Return the rectangle in the transposed frame."""
        return Box(self.top, self.left, self.bottom, self.right)

    def within(self, columns: int, rows: int) -> "Box":
        """Return the part of it that lies in a frame of this size."""
        left, top = min(max(0, self.left), columns), min(max(0, self.top), rows)
        return Box(left, top, min(max(left, self.right), columns), min(max(top, self.bottom), rows))

    def meets(self, other: "Box") -> bool:
        """Return whether the two have a pixel in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def joined(self, other: "Box") -> "Box":
        """Return the smallest rectangle that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def common(self, other: "Box") -> "Box":
        """Return the part that lies in both; its width or height is negative where there is none."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def holds(self, other: "Box") -> bool:
        """Return whether the other lies wholly inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


def covered(boxes: Iterable[Box], rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a frame the boxes cover."""
    mask = np.zeros((rows, columns), dtype=np.bool_)
    for box in boxes:
        left, top, right, bottom = box.within(columns, rows)
        mask[top:bottom, left:right] = True
    return mask


def without_inner(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes, each once, without those that lie wholly inside another; the largest first."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda each: (-each.area, each)):
        if box.area and not any(other.holds(box) for other in kept):
            kept.append(box)
    return kept
