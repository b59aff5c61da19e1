"""Values of one element, cleaned by what kind of value they are: dates, ages, numbers, terms, UIDs, texts.

Every function takes and returns texts; ``engine`` turns bytes into texts and back.
"""

import datetime
import re
from typing import Final

from .identity import Identity, fold
from .lists import word_list
from .mapping import Mapper, Shift
from .profile import table
from .words import clean_technical, clean_text, defined_terms, vocabulary, without_numbers

REMOVED: Final = "REMOVED"
"""Stands where a text had to go and its attribute may not be empty."""

DUMMIES: Final[dict[str, str]] = {
    "AE": REMOVED,
    "AS": "000Y",
    "CS": REMOVED,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "LO": REMOVED,
    "LT": REMOVED,
    "PN": REMOVED,
    "SH": REMOVED,
    "ST": REMOVED,
    "TM": "000000",
    "UC": REMOVED,
    "UR": "",
    "UT": REMOVED,
}

_DA = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})", re.ASCII)
_TM = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(\.\d{1,6})?)?)?", re.ASCII)
_DT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?", re.ASCII)
_AS = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_IS = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DS = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SIZE = re.compile(r"\d{1,3}(?:cm|mm|in)x\d{1,3}(?:cm|mm|in)", re.ASCII)
_CS_TOKEN = re.compile(r"[A-Za-z0-9]+")
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9.\-+/%*^(){}\[\]'_,~&?!]{1,64}")
_MAX_AGE_YEARS: Final = 89

STANDARD_SCHEMES: Final = word_list("coding schemes")
_MODALITIES: Final = word_list("modalities")


def shift_date(text: str, time: str, shift: Shift) -> str:
    """Move a DA value back; ``time`` is the TM value beside it, which may carry it over midnight. '' if it is none."""
    match = _DA.fullmatch(text)
    if match is None:
        return ""
    days = shift.days
    seconds = _seconds_of(time)
    if seconds is not None and seconds < shift.seconds:
        days += 1
    try:
        day = datetime.date(*(int(part) for part in match.groups())) - datetime.timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{day.year:04}{day.month:02}{day.day:02}"


def _seconds_of(time: str) -> int | None:
    match = _TM.fullmatch(time)
    if match is None:
        return None
    hour, minute, second, _ = match.groups()
    return int(hour) * 3600 + int(minute or 0) * 60 + int(second or 0)


def shift_time(text: str, shift: Shift) -> str:
    """Move a TM value back, around midnight if need be, keeping its precision; '' when it is none."""
    match = _TM.fullmatch(text)
    seconds = _seconds_of(text)
    if match is None or seconds is None or seconds > 86400:
        return ""
    _, minute, second, fraction = match.groups()
    moved = (seconds - shift.seconds) % 86400
    made = f"{moved // 3600:02}"
    if minute is not None:
        made += f"{moved // 60 % 60:02}"
    if second is not None:
        made += f"{moved % 60:02}{fraction or ''}"
    return made


def shift_datetime(text: str, shift: Shift) -> str:
    """Move a DT value back, keeping its precision; its time zone goes, since it names a region. '' if it is none."""
    match = _DT.fullmatch(text)
    if match is None:
        return ""
    year, *rest, fraction, _ = match.groups()
    numbers = [int(part) if part else default for part, default in zip(rest, (1, 1, 0, 0, 0), strict=True)]
    try:
        month, day, hour, minute, second = numbers
        moment = datetime.datetime(int(year), month, day, hour, minute, min(second, 59))  # noqa: DTZ001 it has no zone
        seconds = shift.seconds if rest[2] else 0
        moment -= datetime.timedelta(shift.days, seconds)
    except (ValueError, OverflowError):
        return ""
    made = f"{moment.year:04}"
    for part, value in zip(rest, (moment.month, moment.day, moment.hour, moment.minute, moment.second), strict=True):
        if part is None:
            return made
        made += f"{value:02}"
    return made + (fraction or "")


def clean_age(text: str) -> str:
    """Return an AS value; who is over 89 is 90. '' when it is none."""
    match = _AS.fullmatch(text)
    if match is None:
        return ""
    number, unit = int(match.group(1)), match.group(2)
    return "090Y" if unit == "Y" and number > _MAX_AGE_YEARS else text


def clean_integer(text: str, identity: Identity) -> str:
    """Return an IS value that is a number and nobody's; '' otherwise."""
    if _IS.fullmatch(text) is None:
        return ""
    digits = text.lstrip("+-")
    digits = digits.lstrip("0")
    if len(digits) >= 5 and (digits in identity.numbers or digits in identity.dates or len(digits) > 8):
        return ""
    return text


def clean_decimal(text: str, identity: Identity) -> str:
    """Return a DS value that is a number and nobody's; '' otherwise."""
    if _DS.fullmatch(text) is None:
        return ""
    digits = "".join(part for part in text if part.isdecimal())
    if len(digits) < 5:
        return text
    whole = text.lstrip("+-").split(".")[0].lstrip("0")
    forms = {digits, digits.lstrip("0"), whole}
    try:
        number = float(text)
    except ValueError:
        return ""
    if number.is_integer() and abs(number) < 1e18:
        forms.add(str(abs(int(number))))
    return (
        "" if any(len(form) >= 5 and (form in identity.numbers or form in identity.dates) for form in forms) else text
    )


def clean_term(text: str, identity: Identity) -> str:
    """Return a CS value made of known words, short codes and small numbers; '' otherwise."""
    words, names = defined_terms(), vocabulary()[1]
    if len(text) > 64 or not text.isascii() or without_numbers(text, identity) != text:
        return ""
    for token in _CS_TOKEN.findall(text):
        folded = fold(token)
        if folded in words and (folded not in names or folded not in identity.names):
            continue
        if identity.has_word(folded) and folded not in _MODALITIES:
            return ""
        if folded.isalpha() and len(folded) > 4:
            return ""
        if folded.isdecimal() and (len(folded) > 6 or identity.has_date_like(folded)):
            return ""
        if len(folded) > 6 and _SIZE.fullmatch(folded) is None:
            return ""
    return text


def uid_is_safe(uid: str, identity: Identity) -> bool:
    """Say whether a UID that is to be kept has the form of one and embeds no number or date of this identity."""
    if _UID.fullmatch(uid) is None:
        return False
    if not identity.numbers and not identity.dates:
        return True
    return not any(
        len(number) >= 5 and number in uid for number in (*identity.numbers, *identity.dates) if number.isdecimal()
    )


def keep_class_uid(uid: str, identity: Identity, mapper: Mapper) -> str:
    """Return the UID of a class, a syntax or a scheme as it is, unless identity is in it."""
    return uid if uid_is_safe(uid, identity) else mapper.uid(uid)


def keep_text(text: str, identity: Identity) -> str:
    """Return a text that an option retains, without the words that are this patient's or the staff's."""
    text = without_numbers(text, identity)
    kept = [word for word in re.split(r"(\W+|_)", text) if not (word and identity.has_word(fold(word)))]
    return "".join(kept).strip()


def code_value_is_safe(value: str, identity: Identity) -> bool:
    """Say whether the value of a code from a public scheme may stay."""
    return _CODE.fullmatch(value) is not None and not identity.has_word(fold(value)) and value not in identity.dates


def is_standard_scheme(scheme: str) -> bool:
    """Say whether a coding scheme designator names a public scheme (PS3.16 table 8-1)."""
    return scheme in STANDARD_SCHEMES


def clean_words(tag: int, text: str, identity: Identity) -> str:
    """Clean a description word by word; what names a thing rather than describes, with more leave."""
    return clean_technical(text, identity) if tag in table().things else clean_text(text, identity)
