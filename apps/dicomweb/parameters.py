"""The query parameters of QIDO-RS (PS3.18 8.3.4): what to match, what to return, which page.

Pure: a query string in, a `Search` out. Which attributes can be matched is a table, so that an attribute is added by a
line. An attribute that cannot be matched is refused, never ignored: an ignored filter shows more than was asked for.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from django.http import QueryDict

from apps.dicom.dictionary import keyword_of_tag, tag_of_keyword
from apps.dicom.uid import is_valid_uid
from apps.dicomweb.errors import BadRequestError


class Level(Enum):
    """What a search returns, by the name of its resource."""

    STUDY = "studies"
    SERIES = "series"
    INSTANCE = "instances"

    @property
    def depth(self) -> int:
        """Return 0 for studies, 1 for series, 2 for instances."""
        return _DEPTHS[self.value]


_DEPTHS = {level.value: depth for depth, level in enumerate(Level)}
# The most results one answer holds; who wants more pages (PS3.18 8.3.4.4).
MAX_RESULTS: Mapping[Level, int] = {Level.STUDY: 1000, Level.SERIES: 1000, Level.INSTANCE: 5000}
MAX_VALUE_CHARACTERS = 512
MAX_UIDS = 1000


@dataclass(frozen=True)
class Attribute:
    """An attribute in the index: its tag as eight hexadecimal digits, its value representation, where it lives."""

    tag: str
    keyword: str
    vr: str
    level: Level


def _attributes(level: Level, *rows: tuple[str, str, str]) -> list[Attribute]:
    return [Attribute(tag, keyword, vr, level) for tag, keyword, vr in rows]


# PS3.18 Tables 10.6.1-5 and 10.6.3-3 to 10.6.3-5, and what else the index holds.
ATTRIBUTES: tuple[Attribute, ...] = (
    *_attributes(
        Level.STUDY,
        ("00080020", "StudyDate", "DA"),
        ("00080030", "StudyTime", "TM"),
        ("00080050", "AccessionNumber", "SH"),
        ("00080061", "ModalitiesInStudy", "CS"),
        ("00080090", "ReferringPhysicianName", "PN"),
        ("00081030", "StudyDescription", "LO"),
        ("00100010", "PatientName", "PN"),
        ("00100020", "PatientID", "LO"),
        ("00100021", "IssuerOfPatientID", "LO"),
        ("00100030", "PatientBirthDate", "DA"),
        ("00100040", "PatientSex", "CS"),
        ("0020000D", "StudyInstanceUID", "UI"),
        ("00200010", "StudyID", "SH"),
        ("00201206", "NumberOfStudyRelatedSeries", "IS"),
        ("00201208", "NumberOfStudyRelatedInstances", "IS"),
    ),
    *_attributes(
        Level.SERIES,
        ("00080021", "SeriesDate", "DA"),
        ("00080031", "SeriesTime", "TM"),
        ("00080060", "Modality", "CS"),
        ("0008103E", "SeriesDescription", "LO"),
        ("00180015", "BodyPartExamined", "CS"),
        ("0020000E", "SeriesInstanceUID", "UI"),
        ("00200011", "SeriesNumber", "IS"),
        ("00201209", "NumberOfSeriesRelatedInstances", "IS"),
    ),
    *_attributes(
        Level.INSTANCE,
        ("00080016", "SOPClassUID", "UI"),
        ("00080018", "SOPInstanceUID", "UI"),
        ("00200013", "InstanceNumber", "IS"),
        ("00280008", "NumberOfFrames", "IS"),
        ("00280010", "Rows", "US"),
        ("00280011", "Columns", "US"),
        ("00280100", "BitsAllocated", "US"),
    ),
)
_RETURNED_ONLY = frozenset({"00280100"})
ATTRIBUTE_OF_TAG: Mapping[str, Attribute] = {attribute.tag: attribute for attribute in ATTRIBUTES}


@dataclass(frozen=True)
class TextMatch:
    """Single value or wild card matching (PS3.4 C.2.2.2.1, C.2.2.2.4); any of the patterns may match."""

    patterns: tuple[str, ...]


@dataclass(frozen=True)
class UidMatch:
    """List of UID matching (PS3.4 C.2.2.2.2)."""

    uids: tuple[str, ...]


@dataclass(frozen=True)
class NumberMatch:
    """Single value matching of a number."""

    value: int


@dataclass(frozen=True)
class DateMatch:
    """Range matching of dates (PS3.4 C.2.2.2.5), both ends included, None where open."""

    first: datetime.date | None
    last: datetime.date | None


@dataclass(frozen=True)
class TimeMatch:
    """Range matching of times, both ends included, None where open."""

    first: datetime.time | None
    last: datetime.time | None


Match = TextMatch | UidMatch | NumberMatch | DateMatch | TimeMatch


@dataclass(frozen=True)
class Search:
    """A search as asked for. `include_tags` holds eight-digit tags in upper case."""

    level: Level
    matches: Mapping[str, Match]
    include_tags: frozenset[str]
    is_all_included: bool
    is_fuzzy: bool
    limit: int
    offset: int

    @property
    def matched_keywords(self) -> list[str]:
        """Return the keywords of what is matched, sorted; values are left out, for the audit trail."""
        return sorted(ATTRIBUTE_OF_TAG[tag].keyword for tag in self.matches)


def parse_search(level: Level, query: QueryDict) -> Search:
    """Read the parameters of a search; raises BadRequestError with a sentence about the first fault.

    Attributes are given by keyword or tag. Parameters that are no attributes (`accept`, a cache buster) are ignored.
    """
    matches: dict[str, Match] = {}
    include: set[str] = set()
    is_all_included = False
    for name, values in query.lists():
        if name in ("limit", "offset", "fuzzymatching"):
            continue
        if name == "includefield":
            for item in ",".join(values).split(","):
                if item.strip().lower() == "all":
                    is_all_included = True
                elif tag := tag_of(item.strip()):
                    include.add(tag)
            continue
        tag = tag_of(name)
        if tag is None:
            if name[:1].isupper() or "." in name or _TAG.fullmatch(name):
                raise BadRequestError(f"{_shown(name)} is not an attribute known here.")
            continue
        match = _match(level, tag, name, values)
        if match is None:
            include.add(tag)
        else:
            matches[tag] = match
    return Search(
        level=level,
        matches=matches,
        include_tags=frozenset(include),
        is_all_included=is_all_included,
        is_fuzzy=_boolean(query, "fuzzymatching"),
        limit=min(_count(query, "limit", MAX_RESULTS[level]), MAX_RESULTS[level]),
        offset=_count(query, "offset", 0),
    )


_TAG = re.compile(r"[0-9A-Fa-f]{8}")


def tag_of(name: str) -> str | None:
    """Return the tag, eight digits in upper case, of a keyword or tag; of a path into a sequence, the sequence's."""
    first, dot, _ = name.partition(".")
    if _TAG.fullmatch(first):
        return first.upper() if dot or keyword_of_tag(first) else None
    return tag_of_keyword(first)


def _shown(text: str) -> str:
    """Return the name of a parameter for an error message: nothing that could be a value, nothing long."""
    return f"“{text[:64]}”" if re.fullmatch(r"[A-Za-z0-9.]+", text) else "A parameter"


def _boolean(query: QueryDict, name: str) -> bool:
    value = query.get(name, "false").lower()
    if value not in ("true", "false"):
        raise BadRequestError(f"{name} is true or false.")
    return value == "true"


def _count(query: QueryDict, name: str, default: int) -> int:
    value = query.get(name)
    if value is None or value == "":
        return default
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise BadRequestError(f"{name} is a number of results, 0 or more.")
    return int(value)


def _match(level: Level, tag: str, name: str, values: Sequence[str]) -> Match | None:
    """Return how to match, None for universal matching, which only asks for the attribute to be returned."""
    if all(value in ("", "*", '""') for value in values):
        return None
    attribute = ATTRIBUTE_OF_TAG.get(tag)
    if attribute is None or "." in name or tag in _RETURNED_ONLY:
        raise BadRequestError(f"{_shown(name)} cannot be searched for here.")
    if attribute.level.depth > level.depth:
        raise BadRequestError(f"{_shown(name)} belongs to a lower level than the {level.value} searched for.")
    if any(len(value) > MAX_VALUE_CHARACTERS for value in values) and attribute.vr != "UI":
        raise BadRequestError(f"The value of {_shown(name)} is too long.")
    if attribute.vr == "UI":
        return _uid_match(name, values)
    if attribute.vr == "CS":
        return TextMatch(tuple(_separate(values)))
    if len(values) > 1:
        raise BadRequestError(f"{_shown(name)} is given more than once.")
    value = values[0]
    if attribute.vr == "DA":
        return _date_match(name, value)
    if attribute.vr == "TM":
        return _time_match(name, value)
    if attribute.vr in ("IS", "US"):
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", value):
            raise BadRequestError(f"{_shown(name)} is a whole number.")
        return NumberMatch(int(value))
    return TextMatch((value.strip(),))


def _separate(values: Iterable[str]) -> list[str]:
    return [item.strip() for value in values for item in re.split(r"[,\\]", value) if item.strip()]


def _uid_match(name: str, values: Sequence[str]) -> UidMatch:
    uids = _separate(values)
    if not uids or len(uids) > MAX_UIDS or not all(is_valid_uid(uid) for uid in uids):
        raise BadRequestError(f"{_shown(name)} is a list of at most {MAX_UIDS} UIDs.")
    return UidMatch(tuple(uids))


def _ends(value: str) -> tuple[str, str]:
    first, dash, last = (part.strip() for part in value.partition("-"))
    return (first, last) if dash else (first, first)


def _date_match(name: str, value: str) -> DateMatch:
    try:
        first, last = _ends(value)
        match = DateMatch(_date(first), _last_date(last) if "-" in value else _date(last))
    except ValueError:
        raise BadRequestError(f"{_shown(name)} is a date YYYYMMDD or a range of two.") from None
    if match.first is None and match.last is None:
        raise BadRequestError(f"{_shown(name)} is a date YYYYMMDD or a range of two.")
    return match


def _date(text: str) -> datetime.date | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{8}", text):
        raise ValueError(text)
    return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))


def _last_date(text: str) -> datetime.date | None:
    """Return the end of a range: clients write the 31st for the end of any month."""
    try:
        return _date(text)
    except ValueError:
        if not re.fullmatch(r"[0-9]{6}(29|30|31)", text):
            raise
        year, month = int(text[:4]), int(text[4:6])
        return datetime.date(year, month, calendar.monthrange(year, month)[1])


def _time_match(name: str, value: str) -> TimeMatch:
    first, last = _ends(value)
    try:
        match = TimeMatch(_time(first, is_last=False), _time(last, is_last=True))
    except ValueError:
        raise BadRequestError(f"{_shown(name)} is a time HHMMSS.FFFFFF or a range of two.") from None
    if match.first is None and match.last is None:
        raise BadRequestError(f"{_shown(name)} is a time HHMMSS.FFFFFF or a range of two.")
    return match


def _time(text: str, *, is_last: bool) -> datetime.time | None:
    """Read a time that may lack its finer components; they are taken as their first or their last moment."""
    if not text:
        return None
    parsed = re.fullmatch(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", text.replace(":", ""))
    if parsed is None:
        raise ValueError(text)
    hour, minute, second, fraction = parsed.groups()
    rest = "59" if is_last else "00"
    microsecond = (fraction or "").ljust(6, "9" if is_last else "0")
    # 60 is a leap second (PS3.5 6.2), which the clock does not know.
    return datetime.time(int(hour), int(minute or rest), min(int(second or rest), 59), int(microsecond))
