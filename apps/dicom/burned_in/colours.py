"""The most and the least of the samples of each pixel: some ten times as fast as numpy's own along the last axis."""

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt


def most(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the largest sample of each pixel of a picture (rows, columns) or (rows, columns, samples)."""
    return picture if picture.ndim == 2 else reduce(np.maximum, np.moveaxis(picture, 2, 0))


def least(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the smallest sample of each pixel."""
    return picture if picture.ndim == 2 else reduce(np.minimum, np.moveaxis(picture, 2, 0))
