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


def evened(picture: Picture) -> Picture:
    """Return the picture with dark and bright grounds spread; the same one where there are none."""
    rows, columns = picture.shape[:2]
    high, wide = -(-rows // _CELL), -(-columns // _CELL)
    levels = picture if picture.ndim == 3 else picture[..., None]
    padded = np.pad(levels, ((0, high * _CELL - rows), (0, wide * _CELL - columns), (0, 0)), mode="edge")
    cells = padded.reshape(high, _CELL, wide, _CELL, -1)
    spread = picture.astype(np.float32)
    for gain, is_bright in (
        (_gain(cells.max(axis=(1, 3, 4))), False),
        (_gain(255 - cells.min(axis=(1, 3, 4))), True),
    ):
        if float(gain.max()) <= 1.0:
            continue
        size = (wide * _CELL, high * _CELL)
        each: Map = np.asarray(Image.fromarray(gain).resize(size, Image.Resampling.BILINEAR))[:rows, :columns]
        each = each[..., None] if picture.ndim == 3 else each
        spread = 255 - (255 - spread) * each if is_bright else spread * each
    return np.clip(spread, 0, 255).astype(np.uint8)


def _gain(farthest: Picture) -> Map:
    """Return by how much each cell may be spread: its own farthest value and its neighbours' count."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(farthest, 1, mode="edge"), (3, 3)).max(axis=(2, 3))
    gain: Map = np.clip(_DARK / np.maximum(around, 1), 1.0, _MOST).astype(np.float32)
    return gain
