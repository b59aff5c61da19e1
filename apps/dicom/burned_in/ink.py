"""The ink of a line of text: its colour, how far along the line it goes on, and where it ends.

Letters of devices are drawn in one flat colour and in thin strokes. Tissue has all greys, flow has flat colours, but
in areas: what is near the colour of the line *and* thin is ink. The brightest of the three colours alone would not tell
white letters from blue or yellow flow.
A cut is (rows, columns, samples) of floats; a line lies along the columns.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from . import colours
from .boxes import Box

Cut = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Reader = Callable[[Box, bool, int], int]

_FAINTEST: Final = 14.0
"""Grey levels between letters and ground below which nothing is told apart."""
_MEANINGLESS: Final = 0.04
"""So many strokes above and below a line, as a part of the pixels there, and strokes beside it mean nothing."""
_STRONG: Final = 60.0
"""Letters that stand out less are looked for only where nothing else does."""
_CLEAN: Final = 0.008
"""So few, and even what stands further off along the line belongs to it."""
_NOTHING: Final = 0.001
"""So few, and nothing but the line is drawn in that ink."""
_PLAIN: Final = 0.25
"""What stands out by less of the contrast of the ink is ground,"""
_EVEN: Final = 10.0
"""and where the ground is even, what stands out by fewer grey levels."""
_DENSE: Final = 0.06
"""So much ink in the middle of a line, and it was told rightly."""
_NOISE: Final = 1.5
"""Grey levels that an even ground differs by."""
_FAR: Final = 2
"""So many heights of a line a chain of strokes is believed over tissue."""
_STANDING: Final = 0.4
"""So much of the ink of a line is the same in all frames of a cine, or the line is there for some of them only."""


_MORE: Final = 0.3
_MOST: Final = 10
"""So much more at each end, of the height of a line and in pixels at most: plain ground there is left out again."""


class Ink(NamedTuple):
    """The colour of the letters and of what is around them, and how far they are apart in grey levels."""

    colour: npt.NDArray[np.float32]
    ground: npt.NDArray[np.float32]
    contrast: float


class Sheet(NamedTuple):
    """What lines are written on: a picture as (rows, columns, samples), and which pixels of its cine never change."""

    whole: Cut
    stands: Mask | None = None

    def turned(self) -> "Sheet":
        """Return the transposed sheet."""
        return Sheet(self.whole.transpose(1, 0, 2), None if self.stands is None else self.stands.T)


def sheet_of(picture: npt.NDArray[np.uint8], stands: Mask | None = None) -> Sheet:
    """Return a picture as what lines are written on."""
    return Sheet((picture if picture.ndim == 3 else picture[..., None]).astype(np.float32), stands)


def fitted(sheet: Sheet, box: Box, beyond: Reader | None) -> Box:
    """Return the box, longer where the line goes on beyond it, and smaller where it holds nothing but ground.

    ``beyond`` says how far letters can be read beyond a line, told whether it is a vertical one, and 1 for behind it or
    -1 for before it: it is asked where more than letters has strokes. Without it, the box is not made longer.
    """
    if box.height > 1.3 * box.width:
        along = None if beyond is None else lambda line, _, way: beyond(line.turned(), True, way)
        turned = fitted(sheet.turned(), box.turned(), along)
        return turned.turned()
    if box.height < 4 or box.area < 16:
        return box
    ink = ink_of(sheet.whole[box.top : box.bottom, box.left : box.right])
    if ink is None:
        return box
    fitting = _trimmed(sheet.whole, box, ink, is_found=True)
    if beyond is None:
        return fitting
    return fitting.joined(_trimmed(sheet.whole, _followed(sheet, box, ink, beyond), ink, is_found=False))


def ink_of(cut: Cut) -> Ink | None:
    """Return the ink of a line that fills a cut; None where nothing in it is thin."""
    thin = _thin(cut, max(2, round(0.2 * cut.shape[0])))
    strength = colours.most(np.abs(thin))
    strongest = float(np.percentile(strength, 97))
    if strongest < _FAINTEST:
        return None
    is_stroke = strength > 0.5 * strongest
    drawn, weights = cut[is_stroke], strength[is_stroke] ** 2
    # The fullest of the cells of a coarse colour cube, each taken together with its neighbours.
    cells = np.minimum(drawn.astype(np.int64) // 16, 15)
    sums: npt.NDArray[np.float64] = np.zeros((16,) * cut.shape[2])
    np.add.at(sums, tuple(cells.T), weights)
    for axis in range(sums.ndim):
        padded = np.pad(sums, [(1, 1) if each == axis else (0, 0) for each in range(sums.ndim)])
        middle = [slice(None)] * sums.ndim
        before, after = list(middle), list(middle)
        before[axis], middle[axis], after[axis] = slice(0, -2), slice(1, -1), slice(2, None)
        sums = padded[tuple(before)] + padded[tuple(middle)] + padded[tuple(after)]
    centre = np.array(np.unravel_index(int(sums.argmax()), sums.shape)) * 16 + 8
    near = np.abs(drawn - centre).max(axis=1) <= 24
    colour = np.median(drawn[near] if near.any() else drawn, axis=0).astype(np.float32)
    is_other = strength < 0.25 * strongest
    ground = np.median(cut[is_other] if is_other.any() else cut.reshape(-1, cut.shape[2]), axis=0).astype(np.float32)
    contrast = float(np.abs(colour - ground).max())
    return Ink(colour, ground, contrast) if contrast >= _FAINTEST else None


def _thin(cut: Cut, reach: int) -> Cut:
    """Return how much each sample stands out from both of its sides, across or down; dark ones are negative."""
    out = np.zeros_like(cut)
    for axis in (0, 1):
        along = np.moveaxis(cut, axis, 0)
        if len(along) <= 2 * reach:
            continue
        before = np.concatenate((np.repeat(along[:1], reach, axis=0), along[:-reach]))
        after = np.concatenate((along[reach:], np.repeat(along[-1:], reach, axis=0)))
        least, most = np.minimum(before, after), np.maximum(before, after)
        stands = np.maximum(along - most, 0) - np.maximum(least - along, 0)
        there = np.moveaxis(out, axis, 0)
        np.copyto(there, stands, where=np.abs(stands) > np.abs(there))
    return out


def _is_ink(cut: Cut, ink: Ink, height: int) -> Mask:
    """Return which pixels have the colour of the ink and are thin in the way it is."""
    away = ink.colour - ink.ground
    # Thin letters are drawn in shades: what stands out more than the ink in the same way is ink as well.
    share = np.clip(_share(cut, ink), 1.0, 1.8)
    near: Mask = colours.most(np.abs(cut - ink.ground - share[..., None] * away)) < max(12.0, 0.38 * ink.contrast)
    strongest = int(np.abs(away).argmax())
    thin = _thin(cut[..., strongest : strongest + 1], max(2, round(0.2 * height)))[..., 0]
    stands: Mask = thin * np.sign(away[strongest]) > 0.3 * ink.contrast
    both: Mask = near & stands
    return both


def _followed(sheet: Sheet, box: Box, ink: Ink, beyond: Reader) -> Box:
    """Return the box, made longer where strokes of its ink go on, over gaps no wider than a space.

    Where the rows above and below are full of them they mean nothing, and a little is taken at both ends.
    """
    rows, columns = sheet.whole.shape[:2]
    reach = 8 * box.height
    left, right = max(0, box.left - reach), min(columns, box.right + reach)
    top, bottom = max(0, box.top - box.height), min(rows, box.bottom + box.height)
    strokes = _without_lines(_is_ink(sheet.whole[top:bottom, left:right], ink, box.height), max(8, box.height))
    first = box.top - top
    if sheet.stands is not None:
        inside = (slice(first, first + box.height), slice(box.left - left, box.right - left))
        standing = strokes & sheet.stands[top:bottom, left:right]
        # What stands for some frames only is followed as in a single picture.
        if standing[inside].sum() >= _STANDING * strokes[inside].sum():
            strokes = standing
    line = strokes[first : first + box.height]
    around = np.concatenate((strokes[:first], strokes[first + box.height :]))
    beside = float(around.mean()) if around.size else 1.0
    # Faint letters, and letters in the colours of flow, are lost where anything else looks like them.
    is_plain = ink.contrast > _STRONG and float(np.ptp(ink.colour)) < _STRONG
    is_meaningless = beside > (_MEANINGLESS if is_plain else _CLEAN)
    amounts = line.sum(axis=0)
    usual = amounts[box.left - left : box.right - left]
    # A column of a line of text is never full from top to bottom: that would be an edge, or a frame.
    is_letter = (amounts > 0) & (amounts <= max(2, min(int(usual.max(initial=0)), int(0.8 * box.height))))
    # Where nothing else is drawn like that, two spaces are no end.
    is_alone = beside < _NOTHING and ink.contrast > _STRONG
    space = 2.2 if is_alone else 0.9 if beside < _CLEAN else 0.8
    gap = max(2, round(space * box.height))
    # Where such strokes are elsewhere too, a chain of them may lead anywhere.
    near = reach if beside < _CLEAN else 9 * box.height // 5
    enough = round(0.6 * box.height)
    inner = sheet.whole[box.top : box.bottom, box.left : box.right]
    is_even = _noise(_share(inner, ink)) * ink.contrast <= _NOISE

    def gone_on(way: int) -> int:
        """Return how far the line goes on, behind it (1) or before it (-1)."""
        side = slice(box.right - left, None) if way > 0 else slice(0, box.left - left)
        away, may_be = amounts[side][::way], is_letter[side][::way]
        reached = 0 if is_meaningless else _reach(away, may_be, gap, near, float(usual.mean()))
        if not (is_even or is_alone):
            reached = min(reached, _FAR * box.height)
        if beside > _CLEAN and (reached > enough or away[: 2 * box.height].any()):
            # Among other strokes a chain is believed as far as letters can be read, or for the rest of one.
            reached = max(reached if reached <= enough else 0, beyond(box, False, way))
        if is_meaningless:
            return max(reached, round(0.35 * box.height), min(_MOST, box.height))
        return reached + min(_MOST, max(1, round(_MORE * box.height)))

    return Box(max(0, box.left - gone_on(-1)), box.top, min(columns, box.right + gone_on(1)), box.bottom)


def _without_lines(strokes: Mask, length: int) -> Mask:
    """Return the strokes without those that run so far along the line: frames and scales, but no letter."""
    if strokes.shape[1] < length:
        return strokes
    sums: npt.NDArray[np.int64] = np.pad(np.cumsum(strokes, axis=1), ((0, 0), (1, 0)))
    is_full: Mask = sums[:, length:] - sums[:, :-length] >= length
    marks = np.zeros((strokes.shape[0], strokes.shape[1] + 1), np.int32)
    marks[:, : is_full.shape[1]] += is_full
    marks[:, length : length + is_full.shape[1]] -= is_full
    return strokes & (np.cumsum(marks, axis=1)[:, :-1] <= 0)


def _reach(amounts: npt.NDArray[np.int64], is_letter: Mask, gap: int, near: int, usual: float) -> int:
    """Return how far letters go on from the beginning, each at most a gap from the one before.

    What goes on must have a good part of the line's own fill of ink, or it is a speck here and there; further away than
    ``near`` a larger one.
    """
    filled = np.cumsum(amounts)
    reached = last = 0
    for place in np.flatnonzero(is_letter).tolist():
        if place - last > gap:
            break
        last = place + 1
        if filled[place] >= (0.3 if last <= near else 0.6) * usual * last:
            reached = last
    return reached


def _share(cut: Cut, ink: Ink) -> Cut:
    """Return how far each pixel is from the ground towards the colour of the ink: 0 there, 1 here."""
    away = ink.colour - ink.ground
    return np.asarray(((cut - ink.ground) @ away) / float(away @ away), dtype=np.float32)


def _noise(share: Cut) -> float:
    """Return how far ground is from the ground, of the contrast of the ink; told how far every pixel is."""
    ground = np.abs(share[share < _PLAIN])
    return float(np.median(ground)) if ground.size else _PLAIN


def _trimmed(whole: Cut, box: Box, ink: Ink, *, is_found: bool) -> Box:
    """Return the box without the ground at its edges, but for a little around the letters.

    Of tissue above and below the line less is taken off than of plain ground: a faint line may stand there.
    ``is_found``: as the detector found it, so that it begins and ends with letters, be they of another ink.
    """
    cut = whole[box.top : box.bottom, box.left : box.right]
    share = _share(cut, ink)
    noise = _noise(share)
    # Faint letters beside a line of strong ones are no ground, where the ground is even enough to tell.
    least = max(_EVEN / ink.contrast, 4 * noise) if is_found else _PLAIN
    is_written = is_across = share >= min(_PLAIN, least)
    most = 0.4
    if noise * ink.contrast > _NOISE:  # the ground is uneven
        # A stroke may stand just so far from the next one that it does not stand out at one of the distances.
        strokes = _is_ink(cut, ink, box.height) | _is_ink(cut, ink, round(0.6 * box.height))
        if float(strokes[round(0.3 * box.height) : round(0.7 * box.height)].mean()) > _DENSE:
            # So much ink for certain that what has none of it is tissue.
            is_across, most = is_written & strokes, 0.25
    down, across = np.flatnonzero(is_across.any(axis=1)), np.flatnonzero(is_written.any(axis=0))
    if not len(down) or not len(across):
        return box
    margin = 2 + round(0.04 * box.height)
    # The middle is never given up: the ink may have been mistaken.
    high, wide = round(most * box.height), min(round(0.4 * box.width), 2 * box.height)
    return Box(
        box.left + max(0, min(int(across[0]) - margin, wide)),
        box.top + max(0, min(int(down[0]) - margin, high)),
        box.right - max(0, min(box.width - 1 - int(across[-1]) - margin, wide)),
        box.bottom - max(0, min(box.height - 1 - int(down[-1]) - margin, high)),
    )
