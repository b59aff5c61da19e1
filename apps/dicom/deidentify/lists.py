"""Short lists of words: ``word_lists.txt`` beside this module, by name."""

from functools import cache
from pathlib import Path
from typing import Final

_DATA: Final = Path(__file__).with_name("word_lists.txt")


@cache
def _lists() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    name = ""
    for line in _DATA.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif line and not line.startswith("#"):
            found.setdefault(name, set()).update(line.split())
    return {name: frozenset(words) for name, words in found.items()}


def word_list(name: str) -> frozenset[str]:
    """Return the words of a list; ``KeyError`` when there is none of that name."""
    return _lists()[name]
