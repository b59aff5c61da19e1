"""The last look: whether anything of the people is still in what is about to be written.

Everything was cleaned value by value before. This looks at the finished elements at once and knows nothing of how
they were cleaned, so that a hole in one rule does not become a leak.
"""

import re
from functools import lru_cache
from typing import Final

from .codec import Item, walk
from .identity import Identity
from .words import defined_terms

_TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_MIN_NAME: Final = 4
_MIN_NUMBER: Final = 5


def count_residue(elements: Item, identity: Identity) -> int:
    """Return how many names and numbers of ``identity`` stand in the texts of a finished data set."""
    texts = [
        bytes(element.value)
        for element, _, _ in walk(elements)
        if element.vr in _TEXT_VRS and isinstance(element.value, (bytes, memoryview)) and len(element.value) > 3
    ]
    pattern = _pattern(
        frozenset(name for name in identity.names if len(name) >= _MIN_NAME and name.isascii() and name.isalpha()),
        frozenset(number for number in identity.numbers if len(number) >= _MIN_NUMBER and number.isascii()),
    )
    return 0 if pattern is None else len(pattern.findall(b"\n".join(texts)))


@lru_cache(maxsize=256)
def _pattern(names: frozenset[str], numbers: frozenset[str]) -> "re.Pattern[bytes] | None":
    # Words of the vocabulary are left out: a term such as HAND stays although somebody is called so.
    forms = [rb"(?<![a-z])" + name.encode() + rb"(?![a-z])" for name in sorted(names - defined_terms())]
    forms += [rb"(?<![a-z0-9])" + re.escape(number.encode()) + rb"(?![a-z0-9])" for number in sorted(numbers)]
    return re.compile(b"|".join(forms), re.IGNORECASE) if forms else None
