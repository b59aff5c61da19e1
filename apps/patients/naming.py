"""Person names (PS3.5 6.2 and 6.2.1): folded for comparing and searching, arranged for reading.

A PN value holds up to three groups divided by "=": alphabetic, ideographic, phonetic. Each has up to five components
divided by "^": family name, given name, middle name, prefix, suffix.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Letters that Unicode does not decompose, written as people without that key on their keyboard write them.
_UNDECOMPOSED: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\u0131": "i",
        "ħ": "h",
        "\u2019": "'",
        "\u02bc": "'",
    }
)
# The German way to write an umlaut without one; both spellings are found.
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_BETWEEN_WORDS: Final = re.compile(r"[\s^=,;]+")
_WITHIN_WORDS: Final = re.compile(r"[-'.]+")
_BLANKS: Final = re.compile(r"\s+")
MAX_TERMS: Final = 48
MAX_TERM_LENGTH: Final = 64


def fold(text: str) -> str:
    """Return the text without case, diacritics, compatibility forms (full width, ligatures) and repeated blanks."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    composed = unicodedata.normalize("NFC", bare.casefold().translate(_UNDECOMPOSED))
    return _BLANKS.sub(" ", composed).strip()


def fold_name(patient_name: str) -> str:
    """Return a PN value folded, with its delimiters but without empty components and groups at the end."""
    groups = (
        "^".join(part.strip() for part in group.split("^")).rstrip("^ ") for group in fold(patient_name).split("=")
    )
    return "=".join(groups).rstrip("=")


def words(text: str) -> list[str]:
    """Return the folded words of a name, a PatientID or whatever somebody typed, in order and without repeats."""
    return list(dict.fromkeys(word for word in _BETWEEN_WORDS.split(fold(text)) if word))


def spellings(word: str) -> list[str]:
    """Return the folded spellings of one typed word: as it stands, and with umlauts written out."""
    plain = fold(word)
    written_out = fold(unicodedata.normalize("NFC", word.casefold()).translate(_UMLAUTS))
    return [plain] if plain == written_out else [plain, written_out]


def spelled_words(typed: str) -> list[list[str]]:
    """Return, for each word that somebody typed, the folded spellings to look for; wild cards stay in them."""
    return [spellings(word) for word in _BETWEEN_WORDS.split(typed) if fold(word)]


def search_terms(*texts: str) -> list[str]:
    """Return the terms under which something called by these texts is found by the beginning of any of them.

    Double names and names with an apostrophe are found as a whole, by their parts, and written together.
    """
    terms: dict[str, None] = {}
    for text in texts:
        for word in _BETWEEN_WORDS.split(text):
            for spelling in spellings(word):
                parts = [part for part in _WITHIN_WORDS.split(spelling) if part]
                for term in (spelling, *parts, "".join(parts)):
                    if term:
                        terms[term[:MAX_TERM_LENGTH]] = None
    return list(terms)[:MAX_TERMS]


def readable(patient_name: str) -> str:
    """Return a PN value for people: "Family, Given Middle" of the first group that is not empty, '' for no name."""
    for group in patient_name.split("="):
        parts = [part.strip() for part in group.split("^")]
        family = parts[0]
        given = " ".join(part for part in parts[1:3] if part)
        name = ", ".join(part for part in (family, given) if part)
        if name:
            titles = " ".join(part for part in parts[3:5] if part)
            return f"{name} ({titles})" if titles else name
    return ""
