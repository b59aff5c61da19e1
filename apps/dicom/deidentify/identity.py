"""What a file says about who the patient is and who treated them, in a form that can be found again anywhere.

Harvested from the file before anything is changed: names from every person name at any depth, numbers from every
identifier, dates, telephone numbers. Asked for each word that may stay, and by the residue scan at the end.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from .lists import word_list

_WORD = re.compile("[^\\W\\d_]+(?:['\u2019`][^\\W\\d_]+)*")
_ALNUM = re.compile(r"[^\W_]+")
_DATE = re.compile(r"(?<!\d)(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_DIGITS = re.compile(r"\d+")
_SPECIAL: Final = str.maketrans(
    {
        "ø": "o",
        "æ": "ae",
        "ß": "ss",
        "œ": "oe",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "\u0131": "i",
        "\u2019": "'",
        "`": "'",
    }
)
_WRITTEN_OUT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "ñ": "ny"})
_NOT_NAMES: Final = word_list("not names")
_SPELLINGS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("ss", "s"))

MIN_PART: Final = 4
"""Shorter names are compared with whole words only, longer ones are looked for inside words too."""


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """Return ``text`` without case, diacritics and ligatures; letters without case of their own stay."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_SPECIAL))
    return "".join(part for part in decomposed if not unicodedata.combining(part))


@dataclass(slots=True)
class Identity:
    """Names, numbers and dates of one file. Empty sets know nothing."""

    names: set[str] = field(default_factory=set)
    """Parts of names, folded."""
    numbers: set[str] = field(default_factory=set)
    """Identifiers, folded, without separators; at least three characters, one of them a digit."""
    dates: set[str] = field(default_factory=set)
    """Dates as YYYYMMDD."""
    spoken: set[str] = field(default_factory=set)
    """Names, numbers and dates as the file spells them, for detectors that look at pixels."""
    _date_forms: frozenset[str] | None = None
    _long: tuple[str, ...] | None = None

    def add_name(self, value: str) -> None:
        """Add a person name with any of its components and groups (PS3.5 6.2.1)."""
        parts: list[str] = []
        for word in _WORD.findall(value):
            folded = fold(word)
            written_out = fold(word.casefold().translate(_WRITTEN_OUT))
            for part in {folded, folded.replace("'", ""), written_out}:
                if len(part) >= 2 and part not in _NOT_NAMES:
                    self.names.add(part)
                    parts.append(part)
                    for long, short in _SPELLINGS:
                        if long in part and len(part) > 4:
                            self.names.add(part.replace(long, short))
            if len(word) == 1 and not word.isascii():
                self.names.add(folded)
            if len(folded) >= 3:
                self.spoken.add(word)
        for number in _ALNUM.findall(value):
            if any(part.isdecimal() for part in number):
                self.add_number(number)

    def add_number(self, value: str) -> None:
        """Add an identifier: record, accession, insurance or telephone number."""
        text = fold(value)
        squeezed = "".join(_ALNUM.findall(text))
        digits = "".join(part for part in squeezed if part.isdecimal())
        if len(squeezed) >= 3 and digits.strip("0"):
            self.numbers.add(squeezed)
            self.spoken.add(value.strip())
            if len(digits) >= 5:
                self.numbers.add(digits)
                if len(digits.lstrip("0")) >= 4:
                    self.numbers.add(digits.lstrip("0"))

    def add_date(self, value: str) -> None:
        """Add the date at the start of a DA or DT value."""
        match = _DATE.match(value.strip())
        if match is None:
            return
        year, month, day = match.groups()
        if year + month + day == "19000101":
            # What stands here for a date that was removed is nobody's.
            return
        if "1800" < year < "2200" and "01" <= month <= "12" and "01" <= day <= "31":
            self.dates.add(year + month + day)

    def add_words(self, value: str, vocabulary: frozenset[str]) -> None:
        """Add what an address, an institution or another identifying text holds and no clinical text would."""
        for token in _ALNUM.findall(value):
            folded = fold(token)
            if folded.isalpha():
                if len(folded) >= MIN_PART and folded not in vocabulary and folded not in _NOT_NAMES:
                    self.names.add(folded)
            elif len(folded) >= 4 and any(part.isdecimal() for part in folded):
                self.add_number(token)
        digits = "".join(_DIGITS.findall(value))
        if 6 <= len(digits) <= 20:
            self.add_number(digits)

    def has_word(self, folded: str) -> bool:
        """Say whether a folded word is, or contains, a name or number of this identity."""
        if folded in self.names or folded in self.numbers:
            return True
        if len(folded) < MIN_PART:
            return False
        if self._long is None:
            self._long = tuple(part for part in self.names | self.numbers if len(part) >= MIN_PART)
        return any(part in folded for part in self._long)

    def has_part(self, folded: str) -> bool:
        """Say whether even a name of three letters is in a word: for words that are no words of any language."""
        return any(len(name) >= 3 and name in folded for name in self.names)

    def has_number(self, digits: str) -> bool:
        """Say whether digits are an identifier."""
        return len(digits) >= 3 and (digits in self.numbers or any(len(n) >= 5 and n in digits for n in self.numbers))

    def has_date_like(self, text: str) -> bool:
        """Say whether digits with separators may be a date of this identity, in any order, with or without a year."""
        parts = _DIGITS.findall(text)
        if self._date_forms is None:
            self._date_forms = frozenset(form for date in self.dates for form in _forms(date))
        if len(parts) == 1:
            return len(parts[0]) >= 6 and any(form in parts[0] for form in self._date_forms if len(form) >= 6)
        return ".".join(str(int(part)) for part in parts if len(part) < 9) in self._date_forms


def _forms(date: str) -> list[str]:
    year, month, day = date[:4], date[4:6], date[6:]
    y, m, d, short = str(int(year)), str(int(month)), str(int(day)), str(int(year[2:]))
    joined = [
        year + month + day,
        day + month + year,
        month + day + year,
        day + month + year[2:],
        month + day + year[2:],
    ]
    joined.append(year[2:] + month + day)
    split = [
        f"{d}.{m}",
        f"{m}.{d}",
        f"{d}.{m}.{y}",
        f"{m}.{d}.{y}",
        f"{y}.{m}.{d}",
        f"{d}.{m}.{short}",
        f"{m}.{d}.{short}",
        f"{short}.{m}.{d}",
    ]
    return joined + split
