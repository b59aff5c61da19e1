"""Free text, word by word: what may stay is what is known to be clinical, everything else goes.

No list of names is complete, so none is used. A word stays when the vocabulary has it and nothing speaks against it:
the patient or the staff are not called so, it does not follow a title, and it does not stand beside a stranger's name.
Numbers stay when they are short, or carry a unit; dates, times, telephone and record numbers are too long for that.
"""

import re
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from .identity import Identity, fold
from .lists import word_list

_VOCABULARY: Final = Path(__file__).with_name("clinical_words.txt")

# Letters and digits of any script; numbers with a decimal point; everything else separates.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)?(?![^\W\d_])|[^\W_]+")
_LETTERS_AND_DIGITS = re.compile(r"([a-z]{1,4})(\d{1,3})([a-z]{0,2})|(\d{1,4})([a-zµ]{1,5})(\d{0,2})", re.ASCII)
_NUMBER_FIRST = re.compile(r"\d{1,3}([a-z]{3,})", re.ASCII)
_TECHNICAL = re.compile(
    r"[a-z]{1,4}|(?=.{2,10}$)[a-z]+\d{1,4}[a-z0-9]{0,4}|(?=.{2,8}$)\d{1,4}[a-z]+\d{0,2}[a-z]?", re.ASCII
)
_VERSION = re.compile(r"\d{1,4}(?:[._\-]\d{1,4}){0,5}")
_DATE_LIKE = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)[0-3]?\d[._\-][0-3]?\d[._\-]\d\d(?!\d)")
_NUMBERED = re.compile(r"([a-z]{3,})\d{1,2}", re.ASCII)
_DIGIT_RUN = re.compile(r"(?<!\d)\+?\(?\d+(?:[ \t./\\\-()+:,;_#]{1,3}\d+)*")
_UNSAFE_SEPARATOR = re.compile(r"[^ \\\t\n\r\f,.;:/()\[\]+\-_&%<>=*#°?!'\"^|]")
_BLANKS = re.compile(r"[ \t]{2,}")
_DIMENSIONS = re.compile(r"\d{1,4}(?:\.\d+)?[ ]?(?:[x*/][ ]?\d{1,4}(?:\.\d+)?){1,2}")
_DECIMALS = re.compile(r"\d{1,3}[.,]\d{1,3}|\d{1,3}")

_PREFIXES: Final = word_list("numbered")
_UNITS: Final = word_list("units")
_MEASURES: Final = word_list("measures")
_YEARS_OLD: Final = word_list("years")
_SINGLE_LETTERS: Final = word_list("single letters")
_TITLES: Final = word_list("titles")
_WEAK_TITLES: Final = word_list("weak titles")
_MODALITY_TITLES: Final = word_list("modality titles")
_MONTHS: Final = word_list("months")
_WORD_PREFIXES: Final = tuple(sorted(word_list("prefixes")))
_NEVER: Final = word_list("never")
_FORMS: Final = word_list("combining forms")
_FORM_ENDINGS: Final = word_list("medical endings")
_PARTS: Final = "|".join(sorted(word_list("compound parts"), key=len, reverse=True))
_FRONT: Final = "|".join(sorted(_FORMS, key=len, reverse=True))
_BACK: Final = "|".join(sorted(_FORM_ENDINGS, key=len, reverse=True))
_BUILT: Final = rf"(?:(?:{_FRONT})[oaie]?)+(?:{_BACK})s?"
_MAX_BUILT: Final = 40
_COMPOUND: Final = rf"(?:{_PARTS}){{1}}(?:(?:s|n|en|es)?(?:{_PARTS})){{1,3}}"
_CAMEL: Final = re.compile(r"[A-Z][a-z]+|[A-Z]+(?![a-z])|[a-z]+")
_WORD_ENDINGS: Final = (
    ("ies", ("y",)), ("ied", ("y",)), ("es", ("e", "", "is")), ("s", ("",)), ("ed", ("e", "")), ("ing", ("e", "")),
    ("ly", ("",)), ("ally", ("al", "")), ("al", ("", "e")), ("ous", ("", "e")), ("ation", ("e", "")), ("en", ("", "e")),
    ("er", ("", "e")), ("em", ("", "e")), ("e", ("",)), ("n", ("",)),
)  # fmt: skip


@cache
def _all_words() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    words, names, terms = set(), set(), set()
    for line in _VOCABULARY.read_text(encoding="utf-8").splitlines():
        if not line or line[0] == "#":
            continue
        word = line.rstrip("~=")
        terms.add(word)
        if not line.endswith("="):
            words.add(word)
        if line.endswith("~"):
            names.add(word)
    return frozenset(words), frozenset(names), frozenset(terms)


def vocabulary() -> tuple[frozenset[str], frozenset[str]]:
    """Return the words that may stay, and those among them that are names as well."""
    return _all_words()[:2]


def defined_terms() -> frozenset[str]:
    """Return the words of coded terms (CS)."""
    return _all_words()[2]


@cache
def _shapes() -> tuple[re.Pattern[str], ...]:
    # Made when first needed: it takes a fifth of a second, and most processes clean no text.
    return re.compile(_BUILT), re.compile(_COMPOUND)


@lru_cache(maxsize=65536)
def is_known(folded: str) -> bool:
    """Say whether a word, or what it is made from by a common prefix or ending, is in the vocabulary."""
    words, names = vocabulary()
    if folded in words:
        return True
    if folded in _NEVER:
        return False
    if 7 <= len(folded) <= _MAX_BUILT and any(shape.fullmatch(folded) for shape in _shapes()):
        return True
    stems = [folded]
    stems += [folded[len(prefix) :] for prefix in _WORD_PREFIXES if folded.startswith(prefix)]
    if any(len(stem) >= 5 and stem in words and stem not in names for stem in stems[1:]):
        return True
    return any(_has_known_base(stem, ending, others) for stem in stems for ending, others in _WORD_ENDINGS)


def _has_known_base(stem: str, ending: str, others: tuple[str, ...]) -> bool:
    """Say whether a word without its ending, or with another, is in the vocabulary and nobody's name."""
    words, names = vocabulary()
    base = stem[: -len(ending)]
    if not stem.endswith(ending) or len(base) < 4:
        return False
    return any(len(base + other) >= 5 and base + other in words and base + other not in names for other in others)


def clean_technical(text: str, identity: Identity) -> str:
    """Return the name of a thing (a model, a kernel, a sequence, a version) without what may be somebody's.

    Such names are no words: short groups of letters, letters with digits and version numbers stay as well.
    """
    return clean_text(text, identity, is_technical=True)


def clean_text(text: str, identity: Identity, *, is_technical: bool = False) -> str:
    """Return ``text`` without what is not known to be clinical. A second pass changes nothing more."""
    for _ in range(4):
        cleaned = _clean_once(text, identity, is_technical=is_technical)
        if cleaned == text:
            break
        text = cleaned
    return text


def _clean_once(text: str, identity: Identity, *, is_technical: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    banned = _banned_spans(text, identity, is_technical=is_technical)
    tokens = list(_TOKEN.finditer(text))
    folded = [fold(token.group()) for token in tokens]
    kept = [
        not _is_within(token.span(), banned)
        and (_may_stay(folded, number, identity, is_technical=is_technical) or _is_camel(token.group(), identity))
        for number, token in enumerate(tokens)
    ]
    _drop_neighbours(text, tokens, folded, kept)
    _drop_spelled_out(tokens, kept, identity)
    return _join(text, tokens, kept)


def _banned_spans(text: str, identity: Identity, *, is_technical: bool) -> list[tuple[int, int]]:
    """Find runs of digits that are too long for a measure: dates, times, telephone and record numbers."""
    spans = []
    for run in _DIGIT_RUN.finditer(text):
        digits = "".join(part for part in run.group() if part.isdecimal())
        found = run.group()
        is_short = len(digits) <= 4 and ":" not in found
        is_measure = _DIMENSIONS.fullmatch(found) is not None or _DECIMALS.fullmatch(found) is not None
        if identity.has_number(digits) or identity.has_date_like(found):
            spans.append(run.span())
        elif is_technical and _VERSION.fullmatch(found) and not _DATE_LIKE.search(found):
            continue
        elif not is_short and not is_measure:
            spans.append(run.span())
        elif len(digits) == 4 and found.strip("+(") == digits:
            after = text[run.end() : run.end() + 6].strip(" \t-_")
            unit = re.match(r"[^\W\d_]+", after)
            if unit is None or fold(unit.group()) not in _MEASURES:
                spans.append(run.span())
    return spans


def _is_camel(written: str, identity: Identity) -> bool:
    """Say whether a word is known words written as one: SpinalCord, OpticChiasm."""
    parts = _CAMEL.findall(written)
    if len(parts) < 2 or len(parts) > 4 or "".join(parts) != written or identity.has_word(fold(written)):
        return False
    return all(len(part) >= 3 and is_known(fold(part)) and fold(part) not in identity.names for part in parts)


def without_numbers(text: str, identity: Identity) -> str:
    """Return ``text`` without the numbers and dates of an identity, in whatever groups they are written."""

    def replaced(run: "re.Match[str]") -> str:
        digits = "".join(part for part in run.group() if part.isdecimal())
        return "" if identity.has_number(digits) or identity.has_date_like(run.group()) else run.group()

    return _DIGIT_RUN.sub(replaced, text)


def _is_within(span: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in spans)


def _may_stay(folded: list[str], number: int, identity: Identity, *, is_technical: bool) -> bool:
    words, _ = vocabulary()
    token = folded[number]
    before = folded[number - 1] if number else ""
    after = folded[number + 1] if number + 1 < len(folded) else ""
    if token.isalpha() and len(token) > 1 and token not in _MONTHS and is_known(token):
        # A known word is nobody's name unless it is just that: "handle" is not Hand. "Hands" may be.
        return token not in identity.names if token in words else not identity.has_word(token)
    if identity.has_word(token):
        return False
    if is_technical and token not in _MONTHS and _TECHNICAL.fullmatch(token) is not None:
        return not identity.has_part(token)
    if token[0].isdecimal() and token.replace(".", "").replace(",", "").isdecimal():
        return _number_may_stay(token, before, after)
    if token.isalpha():
        return token in _SINGLE_LETTERS
    return _mixed_may_stay(token, words)


def _number_may_stay(token: str, before: str, after: str) -> bool:
    if before in _MONTHS or after in _MONTHS:
        return False
    whole = token.replace(",", ".").split(".", maxsplit=1)[0]
    if whole.isdecimal() and 90 <= int(whole) <= 130 and (after in _YEARS_OLD or before in _YEARS_OLD):
        return False
    return len(token) <= 7


def _mixed_may_stay(token: str, words: frozenset[str]) -> bool:
    if token in words:
        return True
    if _DIMENSIONS.fullmatch(token):
        return True
    match = _NUMBERED.fullmatch(token)
    if match is not None and match.group(1) in words and match.group(1) not in _MONTHS:
        return True
    match = _NUMBER_FIRST.fullmatch(token)
    if match is not None and match.group(1) in words and match.group(1) not in _MONTHS | _YEARS_OLD:
        return True
    match = _LETTERS_AND_DIGITS.fullmatch(token)
    if match is None:
        return False
    prefix, _, suffix, digits, unit, _ = match.groups()
    if prefix is not None:
        return (prefix in _PREFIXES or (prefix in words and len(prefix) > 1)) and len(suffix or "") <= 1
    if unit in _YEARS_OLD and 90 <= int(digits) <= 130:
        return False
    return unit in _UNITS and (len(digits) <= 3 or unit in _MEASURES)


def _drop_neighbours(text: str, tokens: list["re.Match[str]"], folded: list[str], kept: list[bool]) -> None:
    """Drop words that are names as well where a name is likely: after a title, beside a stranger."""
    _, names = vocabulary()
    for number, token in enumerate(folded):
        if token in _TITLES and _is_title(text, tokens[number]):
            kept[number] = kept[number] and token in _WEAK_TITLES
            for place in (number + 1, number + 2):
                if place < len(folded) and _is_name_after_title(tokens[place].group(), folded[place], token, names):
                    kept[place] = False
    for number, token in enumerate(folded):
        if not kept[number] or not (token in names or (len(token) == 1 and token.isalpha())):
            continue
        for place in (number - 1, number + 1):
            if 0 <= place < len(tokens) and not kept[place] and folded[place].isalpha() and len(folded[place]) > 1:
                first, second = sorted((number, place))
                between = text[tokens[first].end() : tokens[second].start()]
                if between.strip(" ,^.-_") == "" and (len(token) > 1 or between.strip("_") != ""):
                    kept[number] = False


def _is_title(text: str, token: "re.Match[str]") -> bool:
    """Tell Mr from MR, Dr from DR and Ms from MS: by the case, or by the full stop."""
    written = token.group()
    if fold(written) not in _MODALITY_TITLES:
        return True
    return not (written.isupper() or written.islower()) or text[token.end() : token.end() + 1] == "."


def _is_name_after_title(written: str, folded: str, title: str, names: frozenset[str]) -> bool:
    if not folded.isalpha():
        return False
    if title in _WEAK_TITLES:
        return folded in names
    return written[0].isupper() and not (len(folded) > 1 and written.islower())


def _drop_spelled_out(tokens: list["re.Match[str]"], kept: list[bool], identity: Identity) -> None:
    """Drop single letters in a row: names spelled out, and initials."""
    initials = {name[0] for name in identity.names}
    run: list[int] = []
    for number, token in enumerate([*(found.group() for found in tokens), "end"]):
        if len(token) == 1 and token.isalpha():
            run.append(number)
            continue
        letters = {fold(tokens[place].group()) for place in run}
        if len(run) >= 4 or (len(run) >= 2 and letters <= initials):
            for place in run:
                kept[place] = False
        run = []


def _join(text: str, tokens: list["re.Match[str]"], kept: list[bool]) -> str:
    if all(kept) and tokens and _UNSAFE_SEPARATOR.search(_TOKEN.sub("", text)) is None:
        return text.strip(" \0") if text != text.strip(" \0") else text
    parts: list[str] = []
    at = 0
    was_dropped = False
    for token, stays in zip(tokens, kept, strict=True):
        separator = text[at : token.start()]
        at = token.end()
        if stays:
            if was_dropped:
                separator = "\n" if "\n" in separator else " "
            parts.append(_UNSAFE_SEPARATOR.sub(" ", separator))
            parts.append(token.group())
        was_dropped = not stays
    if not parts:
        return ""
    if not was_dropped:
        parts.append(_UNSAFE_SEPARATOR.sub(" ", text[at:]))
    return _BLANKS.sub(" ", "".join(parts)).strip(" \t,;:-_/+&")
