"""The query strings of QIDO-RS."""

from __future__ import annotations

import datetime

import pytest
from django.http import QueryDict

from apps.dicomweb.errors import BadRequestError
from apps.dicomweb.parameters import (
    DateMatch,
    Level,
    NumberMatch,
    Search,
    TextMatch,
    TimeMatch,
    UidMatch,
    parse_search,
)


def parse(query: str, level: Level = Level.INSTANCE) -> Search:
    return parse_search(level, QueryDict(query))


def test_the_first_request_of_ohif() -> None:
    search = parse(
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030,00080060,00080090,00100030"
        "&StudyInstanceUID=1.2.3",
        Level.STUDY,
    )
    assert search == Search(
        level=Level.STUDY,
        matches={"0020000D": UidMatch(("1.2.3",))},
        include_tags=frozenset({"00081030", "00080060", "00080090", "00100030"}),
        is_all_included=False,
        is_fuzzy=False,
        limit=101,
        offset=0,
    )


@pytest.mark.parametrize("name", ["PatientName", "00100010"])
def test_keyword_and_tag_mean_the_same_and_values_are_percent_decoded(name: str) -> None:
    assert parse(f"{name}=M%C3%BCller%5EA%2A").matches == {"00100010": TextMatch(("Müller^A*",))}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20260131", DateMatch(datetime.date(2026, 1, 31), datetime.date(2026, 1, 31))),
        ("20260101-20260131", DateMatch(datetime.date(2026, 1, 1), datetime.date(2026, 1, 31))),
        ("20260101-", DateMatch(datetime.date(2026, 1, 1), None)),
        ("-20260131", DateMatch(None, datetime.date(2026, 1, 31))),
        # Clients write the 31st for the end of any month.
        ("20260201-20260231", DateMatch(datetime.date(2026, 2, 1), datetime.date(2026, 2, 28))),
    ],
)
def test_dates(value: str, expected: DateMatch) -> None:
    assert parse(f"StudyDate={value}").matches == {"00080020": expected}


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("101530", datetime.time(10, 15, 30), datetime.time(10, 15, 30, 999999)),
        ("101530.5", datetime.time(10, 15, 30, 500000), datetime.time(10, 15, 30, 599999)),
        ("10", datetime.time(10), datetime.time(10, 59, 59, 999999)),
        ("1000-1159", datetime.time(10), datetime.time(11, 59, 59, 999999)),
        ("1000-", datetime.time(10), None),
        ("235960", datetime.time(23, 59, 59), datetime.time(23, 59, 59, 999999)),
    ],
)
def test_times(value: str, first: datetime.time, last: datetime.time | None) -> None:
    assert parse(f"StudyTime={value}").matches == {"00080030": TimeMatch(first, last)}


@pytest.mark.parametrize("query", ["SOPInstanceUID=1.2,1.3", "SOPInstanceUID=1.2%5C1.3", "00080018=1.2&00080018=1.3"])
def test_uid_lists(query: str) -> None:
    assert parse(query).matches == {"00080018": UidMatch(("1.2", "1.3"))}


def test_several_modalities_may_be_asked_for() -> None:
    assert parse("ModalitiesInStudy=CT,MR").matches == {"00080061": TextMatch(("CT", "MR"))}


def test_numbers() -> None:
    assert parse("SeriesNumber=-3").matches == {"00200011": NumberMatch(-3)}


@pytest.mark.parametrize("query", ["PatientID=", "PatientID=*"])
def test_universal_matching_only_asks_for_the_attribute(query: str) -> None:
    search = parse(query)
    assert not search.matches
    assert search.include_tags == {"00100020"}


def test_an_empty_attribute_outside_the_index_may_be_asked_for() -> None:
    assert parse("PatientAge=").include_tags == {"00101010"}


@pytest.mark.parametrize("query", ["includefield=all", "includefield=ALL&includefield=PatientID"])
def test_all_fields(query: str) -> None:
    assert parse(query).is_all_included


def test_unknown_fields_are_left_out_and_sequence_paths_name_their_sequence() -> None:
    assert parse("includefield=Nonsense,00081140.00081155,RequestAttributesSequence").include_tags == {
        "00081140",
        "00400275",
    }


@pytest.mark.parametrize("query", ["accept=application%2Fdicom%2Bjson", "_=123", "access_token=x", "charset=utf-8"])
def test_parameters_that_are_no_attributes_are_ignored(query: str) -> None:
    assert not parse(query).matches


@pytest.mark.parametrize(
    "query",
    [
        "PatientsName=x",
        "99999999=x",
        "PatientAge=030Y",
        "RequestAttributesSequence.ScheduledProcedureStepID=1",
        "StudyDate=2026-01-31",
        "StudyDate=20260231",
        "StudyDate=-",
        "StudyTime=2561",
        "StudyTime=noon",
        "SeriesNumber=x",
        "StudyInstanceUID=1.2*",
        "StudyInstanceUID=" + ",".join(["1.2"] * 1001),
        "PatientID=a&PatientID=b",
        "PatientID=" + "x" * 513,
        "limit=-1",
        "limit=x",
        "offset=1.5",
        "fuzzymatching=perhaps",
    ],
)
def test_what_cannot_be_matched_is_refused_not_ignored(query: str) -> None:
    with pytest.raises(BadRequestError):
        parse(query)


def test_attributes_of_a_lower_level_cannot_be_matched() -> None:
    with pytest.raises(BadRequestError):
        parse("SOPInstanceUID=1.2", Level.SERIES)


def test_error_messages_do_not_repeat_values() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse("StudyDate=Muster%5EErika")
    assert "Muster" not in caught.value.message


def test_pages() -> None:
    assert (parse("limit=0&offset=7").limit, parse("limit=0&offset=7").offset) == (0, 7)
    assert parse("limit=999999999", Level.STUDY).limit == parse("", Level.STUDY).limit == 1000
    assert parse("fuzzymatching=true").is_fuzzy
