"""Whether what the detector found is text: it stands on plain ground, it can be read, or it goes on a line that can."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .boxes import Box, covered
from .lines import COVERED, is_in_line, outer_of
from .models import at_once
from .reading import Line, read, speaks_of

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

LARGE_LETTERS: Final = 18
SHARP: Final = 0.55
# How sure the reader must be of its letters: where much speaks for text, of a single letter, where little does.
LEGIBLE: Final = 0.4
LONG_LEGIBLE: Final = 0.2
SINGLE_LEGIBLE: Final = 0.6
READABLE: Final = 0.7
BEYOND_GUESS: Final = 0.4
BEYOND_SURE: Final = 0.55
"""How sure the reader must be of a letter beyond the end of what the detector found, and of all up to it on average."""
BEYOND_STEPS: Final = 4
BEYOND_GAP: Final = 1.0
"""How far, in heights of a line, a letter may be from the one before."""
FLOW_SHARP: Final = 0.8
FLOW_LEGIBLE: Final = 0.5
FLOW_READABLE: Final = 0.8
CERTAIN: Final = 0.95
MANY: Final = 7
MANY_CERTAIN: Final = 0.85
"""How sure the reader must be of so many letters, which nothing round looks like."""
LARGEST: Final = 0.08
"""A line that covers more of the picture than this part must be read without any doubt."""
MAX_READ: Final = 60
"""So many places are read; a page with more is full of text."""


class Found(NamedTuple):
    """Text in a picture, and how sure the detector is of it, 0 to 1."""

    box: Box
    score: float


def plausible(
    picture: Picture,
    grey: Map,
    found: list[Found],
    seeds: Sequence[str],
    known: Sequence[Box] = (),
    *,
    has_flow: bool = False,
) -> list[Box]:
    """Leave out what is not text: edges of bones, flow in colours, soft shapes. Nobody could read anything there."""
    kept: list[Box] = []
    left: list[Box] = []
    # The largest first: what lies within a line that was kept is a part of it, within one that was not it may be one.
    found = sorted(found, key=lambda one: -one.box.area)
    taken = covered(known, *picture.shape[:2])
    outer = set(outer_of([each.box for each in found], taken))
    stands_alone = cache(partial(_stands_alone, grey))
    ahead = [
        each.box
        for each in found
        if each.box in outer and not (has_flow and _is_square(each.box)) and not stands_alone(each)
    ][:MAX_READ]
    lines = dict(zip(ahead, at_once(partial(read_either_way, picture), ahead), strict=True))
    for each in found:
        inside = taken[each.box.top : each.box.bottom, each.box.left : each.box.right]
        if inside.size and float(inside.mean()) >= COVERED:
            # Not read again; what little of it stands out belongs to the line too.
            kept.append(each.box)
            inside[:] = True
            continue
        if has_flow and _is_square(each.box):
            left.append(each.box)
            continue
        is_text = stands_alone(each)
        if not is_text:
            if each.box not in lines and len(lines) < MAX_READ:
                lines[each.box] = read_either_way(picture, each.box)
            line = lines.get(each.box)
            is_text = line is None or _is_plausible(picture, grey, each, line, seeds, has_flow=has_flow)
        if is_text:
            kept.append(each.box)
            inside[:] = True
        else:
            left.append(each.box)
    # A letter or two that cannot be read alone, but stand in a line with what can.
    # Where flow is as bright as letters, much of it lies in line with any word.
    grows = not has_flow
    while grows:
        more = [box for box in left if any(is_in_line(box, other) for other in kept)]
        grows = bool(more)
        kept += more
        left = [box for box in left if box not in more]
    return kept


def _is_square(box: Box) -> bool:
    """Return whether a box is one letter at most, which would not be believed among flow."""
    return max(box.width, box.height) < 1.3 * min(box.width, box.height)


def _stands_alone(grey: Map, found: Found) -> bool:
    """Return whether a line stands on plain ground, which tissue does not: it need not be read."""
    box = found.box
    # An image of an organ stands on plain ground as well.
    if found.score < 0.75 or min(box.width, box.height) < 6 or is_huge(box, grey):
        return False
    cut = grey[box.top : box.bottom, box.left : box.right]
    edge = np.concatenate((cut[0], cut[-1], cut[:, 0], cut[:, -1]))
    ground = float(np.median(edge))
    is_plain = np.abs(edge - ground) <= 6
    stands_out = float(np.percentile(np.abs(cut - ground), 95)) > 40
    # Small letters of the lines above and below may reach into the edge.
    least = 0.9 if _is_large(box, grey) else 0.75
    return stands_out and float(is_plain.mean()) > least and float((np.abs(cut - ground) <= 6).mean()) > 0.4


def _is_plausible(
    picture: Picture, grey: Map, found: Found, line: Line, seeds: Sequence[str], *, has_flow: bool = False
) -> bool:
    box = found.box
    count = len(line.letters)
    is_large = _is_large(box, grey)
    is_long = max(box.width, box.height) > 3.5 * min(box.width, box.height) and found.score > 0.9
    if is_huge(box, picture):
        return is_certain(line) or speaks_of(line, seeds)
    if is_large and count < 3:
        # Round things are read as a zero or an eight without any doubt.
        return speaks_of(line, seeds)
    if has_flow:
        # Where flow shows as bright as letters only what reads well is text; the look at the whiteness finds the rest.
        if count < 2:
            return speaks_of(line, seeds)
        needed = FLOW_LEGIBLE if _sharpness(grey, box) > FLOW_SHARP else FLOW_READABLE
    elif is_large or _sharpness(grey, box) < SHARP:
        needed = READABLE
    elif count > 1:
        needed = LONG_LEGIBLE if is_long else LEGIBLE
    else:
        needed = SINGLE_LEGIBLE
    return (count > 0 and line.confidence >= needed) or speaks_of(line, seeds)


def _is_large(box: Box, grey: Map) -> bool:
    """Return whether a line is larger than a device writes for itself."""
    return bool(min(box.width, box.height) > max(LARGE_LETTERS, min(grey.shape) // 20))


def is_huge(box: Box, picture: Picture | Map) -> bool:
    """Return whether a line is so large that it must be read without any doubt."""
    return bool(box.area > picture.shape[0] * picture.shape[1] * LARGEST)


def is_certain(line: Line) -> bool:
    """Return whether it was read without any doubt, and is more than one or two round things."""
    return (len(line.letters) >= 3 and line.confidence >= CERTAIN) or (
        len(line.letters) >= MANY and line.confidence >= MANY_CERTAIN
    )


def _sharpness(grey: Map, box: Box) -> float:
    """Return the steepest edges, over two pixels, as a part of all contrast: letters are drawn, anatomy is not."""
    cut = grey[box.top : box.bottom, box.left : box.right]
    if min(cut.shape) < 5:
        return 1.0
    contrast = float(np.percentile(cut, 98) - np.percentile(cut, 2))
    down = np.percentile(np.abs(cut[2:] - cut[:-2]), 95)
    across = np.percentile(np.abs(cut[:, 2:] - cut[:, :-2]), 95)
    return float(max(down, across)) / max(contrast, 1.0)


def read_either_way(picture: Picture, box: Box) -> Line:
    """Read a box as a horizontal line, or as a vertical one from below or from above, whichever reads best."""
    cut = picture[box.top : box.bottom, box.left : box.right]
    ways = (1, 3) if box.height > 1.5 * box.width else (0,)
    return max((read(np.ascontiguousarray(np.rot90(cut, turns))) for turns in ways), key=lambda line: line.confidence)


class Beyond:
    """Where letters of a picture go on behind what was found of their line."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._turns: dict[Box, int] = {}

    def __call__(self, box: Box, is_vertical: bool, way: int) -> int:
        """Return how far letters go on behind a line (``way`` 1) or before it (-1), in pixels: as far as one reads."""
        picture = self._picture
        begin, end, high, limit = (
            (box.top, box.bottom, box.width, picture.shape[0])
            if is_vertical
            else (box.left, box.right, box.height, picture.shape[1])
        )
        turns = self._turns_of(box) if is_vertical else 0

        def letters(first: int, last: int) -> list[tuple[float, float, bool]]:
            """Return where letters stand from the first to the last pixel of the line, how sure, and if not signs."""
            part = (
                picture[first:last, box.left : box.right] if is_vertical else picture[box.top : box.bottom, first:last]
            )
            line = read(np.ascontiguousarray(np.rot90(part, turns)))
            return [
                (first + (last - first) * (1 - place if turns == 3 else place), sure, letter.isalnum())
                for letter, place, sure in line.letters_at
                if sure >= BEYOND_GUESS
            ]

        edge = end if way > 0 else begin
        return abs(_walked(letters, edge, way, high, limit) - edge)

    def _turns_of(self, box: Box) -> int:
        """Return by how many quarters a vertical line is turned to be read: from below or from above."""
        if box not in self._turns:
            cut = self._picture[box.top : box.bottom, box.left : box.right]
            sure = {turns: read(np.ascontiguousarray(np.rot90(cut, turns))).confidence for turns in (1, 3)}
            self._turns[box] = max(sure, key=lambda turns: sure[turns])
        return self._turns[box]


def _walked(
    letters: Callable[[int, int], list[tuple[float, float, bool]]], edge: int, way: int, high: int, limit: int
) -> int:
    """Return where letters end that go on from an end of a line, one at most a space from the other."""
    for _ in range(BEYOND_STEPS):
        inside, outside = edge - way * high, edge + way * 5 * high // 2
        seen = letters(max(0, min(inside, outside)), min(limit, max(inside, outside)))
        last = reached = float(edge)
        certainties: list[float] = []
        for centre, sure, is_letter in sorted(seen, key=lambda each: way * each[0]):
            if way * (centre - last) > BEYOND_GAP * high:
                break
            last = way * max(way * last, way * centre)
            if way * (centre - edge) > 0:
                certainties.append(sure)
            # Strokes of tissue are read as dashes and dots.
            if is_letter and certainties and sum(certainties) >= BEYOND_SURE * len(certainties):
                reached = way * max(way * reached, way * centre + 0.5 * high)
        if abs(reached - edge) < 0.2 * high:
            break
        edge = min(limit, max(0, round(reached)))
    return edge


def reads_like_text(line: Line, seeds: Sequence[str]) -> bool:
    """Return whether a line that the detector doubts is text for certain."""
    return (len(line.letters) >= 3 and line.confidence >= 0.8) or speaks_of(line, seeds)
