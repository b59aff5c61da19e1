"""Values of one element, cleaned by what kind of value they are: dates, ages, numbers, terms, UIDs, texts.

Every function takes and returns texts; ``engine`` turns bytes into texts and back.
"""

import datetime
import re
from typing import Final

from .identity import Identity, fold
from .mapping import Mapper, Shift
from .words import clean_technical, clean_text, defined_terms, vocabulary

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
_CS_TOKEN = re.compile(r"[A-Za-z0-9]+")
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9.\-+/%*^(){}\[\]'_,~&?!]{1,64}")
_STANDARD_ROOT: Final = "1.2.840.10008."
_MAX_AGE_YEARS: Final = 89

STANDARD_SCHEMES: Final = frozenset(
    "DCM SRT SCT SNM3 SNOMED LN UCUM FMA RADLEX ICD10 ICD-10 I10 I10P I9 I9C I11 ICDO3 NCIT NCIt NCDR UMLS MSH MA "
    "RADELEMENT BI ACR IHE IBSI ISO639_1 ISO639_2 ISO3166_1 ISO3166_2 HL7 RO C4 CD2 CPT4 LOINC UCUM RXNORM NYUMCCG NDC "
    "SCPECG MDC NCIm UNS SDM PALGA NEU HGNC CDT CVX ICD9 JJ1017 POS ISO8601 HPC HI BARI IEEE EPSG UPC UBERON NICIP "
    "PUBCHEM_CID ITIS_TSN MGI CTV3 DC DCMUID RFC3066 RFC5646 UMLS UBERON ISO_IR_6 99PMP PATHLEX".split()
)
_MODALITIES: Final = frozenset("ct mr us xa cr dx pt nm mg rf ot sc sr ko pr px io es gm sm op au hd".split())

TECHNICAL: Final = frozenset(
    {
        0x00080070, 0x00081090, 0x00180022, 0x00180024, 0x00181020, 0x00181160, 0x00181180, 0x00181210, 0x00181250, 0x00181251,
        0x00181260, 0x00181261, 0x00181401, 0x00185010, 0x00185020, 0x00185021, 0x00189005, 0x00189041, 0x00189051, 0x00189315,
        0x00189360, 0x00201040, 0x00281054, 0x00281055, 0x00283003, 0x00541100, 0x00541101, 0x00541103, 0x00541105, 0x00187001,
        0x0018702A, 0x0018702B, 0x00187004, 0x00181081, 0x00181405, 0x00209421, 0x00620006,
    }
)  # fmt: skip
"""Attributes that name a thing: manufacturer, model, version, sequence, filter, grid, kernel, coil, plate, detector."""

# Dates and the times that belong to them.
DATE_TO_TIME: Final[dict[int, int]] = {
    0x00080012: 0x00080013, 0x00080020: 0x00080030, 0x00080021: 0x00080031, 0x00080022: 0x00080032, 0x00080023: 0x00080033,
    0x00080024: 0x00080034, 0x00080025: 0x00080035, 0x00181012: 0x00181014, 0x00181200: 0x00181201, 0x0018700C: 0x0018700E,
    0x00380020: 0x00380021, 0x00380030: 0x00380032, 0x00400002: 0x00400003, 0x00400004: 0x00400005, 0x00400244: 0x00400245,
    0x00400250: 0x00400251, 0x00402004: 0x00402005, 0x0040A121: 0x0040A122, 0x00700082: 0x00700083, 0x30060008: 0x30060009,
    0x300A0006: 0x300A0007, 0x300A022C: 0x300A022E, 0x300E0004: 0x300E0005, 0x30080024: 0x30080025, 0x30080250: 0x30080251,
    0x00320032: 0x00320033, 0x00320034: 0x00320035, 0x00321000: 0x00321001, 0x00321010: 0x00321011, 0x00321040: 0x00321041,
    0x00321050: 0x00321051,
}  # fmt: skip


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


def keep_date(text: str) -> str:
    """Return a DA value that is one, or ''."""
    return shift_date(text, "", Shift(0, 0))


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
        moment = datetime.datetime(int(year), *numbers[:4], min(numbers[4], 59))  # noqa: DTZ001 the value has no zone
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
    if len(digits) >= 5 and (digits in identity.numbers or digits in identity.dates or len(digits) > 8):
        return ""
    return text


def clean_decimal(text: str, identity: Identity) -> str:
    """Return a DS value that is a number and nobody's; '' otherwise."""
    if _DS.fullmatch(text) is None:
        return ""
    digits = text.lstrip("+-")
    if len(digits) >= 5 and digits.isdigit() and (digits in identity.numbers or digits in identity.dates):
        return ""
    return text


def clean_term(text: str, identity: Identity) -> str:
    """Return a CS value made of known words, short codes and small numbers; '' otherwise."""
    words, names = defined_terms(), vocabulary()[1]
    if len(text) > 64 or not text.isascii():
        return ""
    for token in _CS_TOKEN.findall(text):
        folded = fold(token)
        if folded in words and (folded not in names or folded not in identity.names):
            continue
        if identity.has_word(folded) and folded not in _MODALITIES:
            return ""
        if folded.isalpha() and len(folded) > 3:
            return ""
        if folded.isdigit() and len(folded) > 5:
            return ""
        if len(folded) > 6:
            return ""
    return text


def uid_is_safe(uid: str, identity: Identity) -> bool:
    """Say whether a UID that is to be kept has the form of one and embeds no number or date of this identity."""
    if _UID.fullmatch(uid) is None:
        return False
    if not identity.numbers and not identity.dates:
        return True
    return not any(
        len(number) >= 5 and number in uid for number in (*identity.numbers, *identity.dates) if number.isdigit()
    )


def keep_class_uid(uid: str, identity: Identity, mapper: Mapper) -> str:
    """Return the UID of a class, a syntax or a scheme as it is, unless identity is in it."""
    return uid if uid_is_safe(uid, identity) else mapper.uid(uid)


def keep_text(text: str, identity: Identity) -> str:
    """Return a text that an option retains, without the words that are this patient's or the staff's."""
    kept = [word for word in re.split(r"(\W+|_)", text) if not (word and identity.has_word(fold(word)))]
    return "".join(kept).strip() if len(kept) > 0 else ""


def code_value_is_safe(value: str, identity: Identity) -> bool:
    """Say whether the value of a code from a public scheme may stay."""
    return _CODE.fullmatch(value) is not None and not identity.has_word(fold(value)) and value not in identity.dates


def is_standard_scheme(scheme: str) -> bool:
    """Say whether a coding scheme designator names a public scheme (PS3.16 table 8-1)."""
    return scheme in STANDARD_SCHEMES


def clean_words(tag: int, text: str, identity: Identity) -> str:
    """Clean a description word by word; what names a thing rather than describes, with more leave."""
    return clean_technical(text, identity) if tag in TECHNICAL else clean_text(text, identity)
