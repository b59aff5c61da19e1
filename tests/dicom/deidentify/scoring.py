"""What came out again of what was planted, and what survived that had to. Reads files with pydicom alone."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from .planted import Planted

_TEXT_VRS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass
class Score:
    """Sums over instances."""

    instances: int = 0
    plants: int = 0
    leaks: Counter[str] = field(default_factory=Counter)
    survive: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    words: int = 0
    words_kept: int = 0
    pixels_changed: int = 0
    refused: int = 0
    unreadable: int = 0

    def summary(self) -> dict[str, Any]:
        """The figures."""
        return {
            "instances": self.instances,
            "plants": self.plants,
            "leaks": sum(self.leaks.values()),
            "must survive": self.survive,
            "lost": sum(self.lost.values()),
            "kept %": round(100 - 100 * sum(self.lost.values()) / max(1, self.survive), 3),
            "clinical words": self.words,
            "words kept %": round(100 * self.words_kept / max(1, self.words), 2),
            "pixels changed": self.pixels_changed,
            "refused": self.refused,
            "unreadable": self.unreadable,
        }


def fold(text: str) -> str:
    """Lower case, no diacritics."""
    special = str.maketrans({"ł": "l", "ß": "ss", "\u0131": "i", "ø": "o"})
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(special))
    return "".join(part for part in decomposed if not unicodedata.combining(part))


def texts(dataset: Dataset) -> list[str]:
    """Every text of a data set, at any depth; UIDs whole."""
    found = []
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += texts(item)
        elif element.value is None:
            continue
        elif isinstance(element.value, bytes):
            if len(element.value) < 4096 and element.tag != 0x7FE00010:
                found.append(element.value.decode("latin-1"))
                found.append(element.value.decode("utf-16-le", "ignore"))
        elif element.VM > 1 and not isinstance(element.value, str):
            found += [str(value) for value in element.value]
        else:
            found.append(str(element.value))
    return found


def score(total: Score, planted: Planted, data: bytes) -> None:
    """Add one instance."""
    total.instances += 1
    total.plants += len(set(planted.places))
    try:
        made = dcmread(io.BytesIO(data))
        said = texts(made) + texts(made.file_meta)
    except Exception:
        total.unreadable += 1
        return
    joined = "\n".join(fold(text) for text in said)
    squeezed = re.sub(r"[^\w\n]+|_", "", joined)
    uids = re.compile(rb"(?<![0-9.])2\.25\.[0-9]{30,39}")
    bare = uids.sub(b"", data)
    lower = bare.lower()
    for needle, place in planted.needles.items():
        if _found(needle, joined, squeezed, lower, planted):
            total.leaks[f"{place}: {needle if len(needle) < 40 else needle[:40]}"] += 1
    original = dcmread(io.BytesIO(planted.data))
    for tag, value in planted.survive.items():
        total.survive += 1
        if tag not in made or str(made[tag].value) != str(value):
            total.lost[f"{tag:08X} {value!r}"] += 1
    wanted = Counter(fold(word) for sentence in planted.words for word in _WORD.findall(sentence))
    there = Counter(_WORD.findall(joined))
    total.words += wanted.total()
    total.words_kept += (wanted & there).total()
    if planted.array is not None:
        stored = np.frombuffer(made.PixelData, dtype="<u2")[: planted.array.size].reshape(planted.array.shape)
        if not np.array_equal(stored, planted.array):
            total.pixels_changed += 1
    elif not np.array_equal(original.pixel_array, made.pixel_array):
        total.pixels_changed += 1


def _found(needle: str, joined: str, squeezed: str, lower: bytes, planted: Planted) -> bool:
    folded = fold(needle).replace("\\", " ")
    if len(folded) < 3:
        # A Chinese or Korean given name: two characters that stand nowhere else.
        return folded in joined and not folded.isascii()
    if folded in joined:
        return True
    thin = re.sub(r"[\W_]+", "", folded)
    if len(thin) >= 6 and thin in squeezed and not (thin.isdigit() and _only_in_uid(thin, joined)):
        return True
    codecs = ["utf-8", "latin-1", "utf-16-le"]
    if planted.person is not None:
        codecs += planted.person.encodings
    for codec in codecs:
        try:
            raw = needle.encode(codec)
        except (UnicodeEncodeError, LookupError):
            continue
        if len(raw) >= 5 and raw.lower() in lower:
            return True
    return False


def _only_in_uid(digits: str, joined: str) -> bool:
    rest = re.sub(r"2\.25\.\d{30,39}", "", joined)
    return digits not in re.sub(r"[^\w\n]+|_", "", rest)
