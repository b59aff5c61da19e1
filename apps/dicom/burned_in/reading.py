"""Read one line of text, to tell whether it is text at all and whether it speaks of this patient."""

import difflib
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from .models import RECOGNITION, planes_of, session

_HEIGHT: Final = 48
_MAX_WIDTH: Final = 320
"""Of a longer line the middle is read: whether it is text shows there too, and reading costs by the width."""
_MIN_SEED: Final = 4
_ALIKE: Final = 0.75


class Line(NamedTuple):
    """What was read, and how sure the reader is of its letters, 0 to 1."""

    text: str
    confidence: float
    letters_at: tuple[tuple[str, float, float], ...] = ()
    """Each letter, digit or sign, where it stands, 0 at the left edge and 1 at the right one, and how sure it is."""

    @property
    def letters(self) -> str:
        """Letters and digits alone, folded."""
        return fold(self.text)


def read(picture: npt.NDArray[np.uint8]) -> Line:
    """Read a picture of one horizontal line."""
    rows, columns = picture.shape[:2]
    if rows < 2 or columns < 2:
        return Line("", 0.0)
    most = max(2, _MAX_WIDTH * rows // _HEIGHT)
    if columns > most:
        begin = (columns - most) // 2
        picture, columns = picture[:, begin : begin + most], most
    width = max(_HEIGHT, round(columns * _HEIGHT / rows))
    # This model was trained with blue first.
    samples = np.ascontiguousarray(planes_of(picture, width, _HEIGHT, Image.Resampling.BICUBIC)[::-1])
    model = session(RECOGNITION)
    [scores] = model.run(None, {model.get_inputs()[0].name: samples[None]})
    best = scores[0].argmax(axis=1)
    sure = scores[0].max(axis=1)
    # Connectionist temporal classification: repeats are one letter, class 0 is the gap between letters.
    is_letter = (best != 0) & np.concatenate(([True], best[1:] != best[:-1]))
    alphabet = _alphabet()
    read_ = [
        (alphabet[number - 1], (step + 0.5) / len(best), float(sure[step]))
        for step, number in zip(np.flatnonzero(is_letter).tolist(), best[is_letter].tolist(), strict=True)
        if number <= len(alphabet)
    ]
    return Line(
        "".join(letter for letter, _, _ in read_),
        float(sure[is_letter].mean()) if is_letter.any() else 0.0,
        tuple(each for each in read_ if each[0].isalnum() or "!" <= each[0] <= "~"),
    )


def fold(text: str) -> str:
    """Return letters and digits without case, accents and anything between them."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def speaks_of(line: Line, seeds: Iterable[str]) -> bool:
    """Return whether a line holds one of these names, numbers or dates, a misread letter or two allowed."""
    letters = line.letters
    if len(letters) < _MIN_SEED:
        return False
    for seed in seeds:
        wanted = fold(seed)
        if len(wanted) < _MIN_SEED:
            continue
        if wanted in letters:
            return True
        matcher = difflib.SequenceMatcher(None, letters, wanted, autojunk=False)
        if sum(block.size for block in matcher.get_matching_blocks()) >= _ALIKE * len(wanted):
            return True
    return False


@cache
def _alphabet() -> tuple[str, ...]:
    metadata: Any = session(RECOGNITION).get_modelmeta().custom_metadata_map
    return (*str(metadata["character"]).splitlines(), " ")
