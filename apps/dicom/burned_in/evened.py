"""A picture in which faint text on black or white ground stands out, for the detector.

Text of 20 grey levels on black is plain to a person in a dark room, and nothing to a detector that was trained on
pages. Where all that is around is dark, dark is spread; where all is bright, bright is; and where most of it is
black or white, what hardly differs from that, beside whatever else is there. Tissue stays as it is.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from . import colours

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

_CELL: Final = 16
_DARK: Final = 80.0
"""What is not brighter than this, with all around it, is spread."""
_MOST: Final = 4.0
"""So much at most: the noise of compression is spread with it."""
_STEEP: Final = 3.0
_RAISED: Final = 36.0
_FLAT: Final = 0.75
"""Beside bright letters the first grey levels are spread so much, and further ones raised, so that all can be told."""
_PLAIN: Final = 6
"""Grey levels within which a ground is black, or white."""


def evened(picture: Picture) -> Picture:
    """Return the picture with dark and bright grounds spread; the same one where there are none."""
    most, least = colours.most(picture), colours.least(picture)
    spread = picture
    for away, is_bright in ((most, False), (255 - least, True)):
        gain, plain = _cells(away)
        if float(gain.max()) > 1.0:
            spread = 255 - _spread(255 - spread, gain, plain) if is_bright else _spread(spread, gain, plain)
    return spread


def _cells(away: Picture) -> tuple[Map, Map]:
    """Return of each cell by how much it may be spread, and 1 where it has a plain ground; told how far from that."""
    rows, columns = away.shape
    high, wide = -(-rows // _CELL), -(-columns // _CELL)
    padded = np.pad(away, ((0, high * _CELL - rows), (0, wide * _CELL - columns)), mode="edge")
    cells = padded.reshape(high, _CELL, wide, _CELL)
    # Every third pixel each way says whether most of a cell is plain.
    plain = (np.mean(cells[:, ::3, :, ::3] <= _PLAIN, axis=(1, 3)) >= 0.5).astype(np.float32)
    return _gain(cells.max(axis=1).max(axis=2)), plain


def _spread(picture: Picture, gain: Map, plain: Map) -> Picture:
    """Return what is dark spread by the gains of the cells, which change smoothly from one to the next."""
    rows, columns = picture.shape[:2]
    out = picture.copy()
    gain, plain = (np.pad(each, 1, mode="edge") for each in (gain, plain))
    # In strips that fit into the processor's cache; what is next to a cell that is spread is as well.
    for top in range(0, rows, _CELL):
        cell = top // _CELL
        around = slice(cell, cell + 3)
        wanted = np.flatnonzero(((gain[around] > 1.0) | (plain[around] > 0.0)).any(axis=0))
        if not len(wanted):
            continue
        first, last = max(0, int(wanted[0]) - 2), min(gain.shape[1] - 2, int(wanted[-1]) + 1)
        bottom, left, right = min(rows, top + _CELL), first * _CELL, min(columns, last * _CELL)
        level = picture[top:bottom, left:right].astype(np.float32)
        each, part = (
            _smooth(cells[around, first : last + 2])[: bottom - top, : right - left] for cells in (gain, plain)
        )
        if picture.ndim == 3:
            each, part = each[..., None], part[..., None]
        # Beside what is bright on plain ground the dark is spread most, and the brighter less, in their order.
        dark = np.minimum(level * _STEEP, _RAISED + level * _FLAT) * part
        np.maximum(level * each, dark, out=level)
        out[top:bottom, left:right] = np.minimum(level, 255)
    return out


def _smooth(cells: Map) -> Map:
    """Return the middle one of three rows of cells in pixels, without the first and the last, bilinear between them."""
    # Across first: three rows are less than sixteen.
    across = np.lib.stride_tricks.sliding_window_view(cells, 3, axis=1) @ _WEIGHTS.T
    return np.asarray(_WEIGHTS @ across.reshape(3, -1), dtype=np.float32)


def _weights() -> Map:
    """Return what each of three neighbouring cells counts at the pixels of the middle one: (pixels, 3)."""
    place = (np.arange(_CELL, dtype=np.float32) + 0.5) / _CELL - 0.5
    return np.stack((np.maximum(-place, 0), 1 - np.abs(place), np.maximum(place, 0)), axis=1).astype(np.float32)


_WEIGHTS: Final = _weights()


def _gain(farthest: Picture) -> Map:
    """Return by how much each cell may be spread: its own farthest value and its neighbours' count."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(farthest, 1, mode="edge"), (3, 3)).max(axis=(2, 3))
    gain: Map = np.clip(_DARK / np.maximum(around, 1), 1.0, _MOST).astype(np.float32)
    return gain
