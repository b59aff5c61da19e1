"""A picture in which faint text on black or white ground stands out, for the detector.

Text of 20 grey levels on black is plain to a person in a dark room, and nothing to a detector that was trained on
pages. Where all that is around is dark, dark is spread; where all is bright, bright is. Tissue stays as it is.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

_CELL: Final = 16
_DARK: Final = 80.0
"""What is not brighter than this, with all around it, is spread."""
_MOST: Final = 4.0
"""So much at most: the noise of compression is spread with it."""
_PLAIN: Final = 6
"""Grey levels within which a ground is black, or white."""


def evened(picture: Picture) -> Picture:
    """Return the picture with dark and bright grounds spread; the same one where there are none."""
    rows, columns = picture.shape[:2]
    high, wide = -(-rows // _CELL), -(-columns // _CELL)
    levels = picture if picture.ndim == 3 else picture[..., None]
    padded = np.pad(levels, ((0, high * _CELL - rows), (0, wide * _CELL - columns), (0, 0)), mode="edge")
    cells = padded.reshape(high, _CELL, wide, _CELL, -1)
    spread = picture.astype(np.float32)
    most, least = cells.max(axis=4), cells.min(axis=4)
    for away, is_bright in ((most, False), (255 - least, True)):
        gain = _gain(away.max(axis=(1, 3)))
        if float(gain.max()) <= 1.0:
            continue
        # Of every other pixel: half of them are no more.
        plain = (np.mean(away[:, ::2, :, ::2] <= _PLAIN, axis=(1, 3)) >= 0.5).astype(np.float32)
        size = (wide * _CELL, high * _CELL)
        each, share = (
            np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR))[:rows, :columns]
            for one in (gain, plain)
        )
        if picture.ndim == 3:
            each, share = each[..., None], share[..., None]
        level = 255 - spread if is_bright else spread
        # Beside what is bright on black ground only the dark is spread, up to where the bright begins.
        level = np.maximum(level * each, share * np.minimum(level * _MOST, _DARK))
        spread = 255 - level if is_bright else level
    return np.clip(spread, 0, 255).astype(np.uint8)


def _gain(farthest: Picture) -> Map:
    """Return by how much each cell may be spread: its own farthest value and its neighbours' count."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(farthest, 1, mode="edge"), (3, 3)).max(axis=(2, 3))
    gain: Map = np.clip(_DARK / np.maximum(around, 1), 1.0, _MOST).astype(np.float32)
    return gain
