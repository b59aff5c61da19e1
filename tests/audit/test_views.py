"""The audit page and its export."""

from __future__ import annotations

import csv
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, User
from apps.audit.export import quote_formula
from apps.audit.models import AuditEvent
from apps.audit.services import Context, record
from apps.clinics.models import Clinic

PAGE = "/c/alpha/audit/"
EXPORT = "/c/alpha/audit/export.csv"
ALICE = Context("user", "aliceAliceAliceAlice22", user_email="alice@alpha.example", remote_addr="192.0.2.7")
DANA = Context("link", "danasLinkdanasLink1234", remote_addr="198.51.100.9")


@pytest.fixture
def trail(clinic_a: Clinic, clinic_b: Clinic) -> dict[str, AuditEvent]:
    """A little of everything in clinic A, and one event in clinic B."""
    start = timezone.now() - timedelta(days=3)
    with time_machine.travel(start, tick=False):
        old = record("user.signed_in", context=ALICE, clinic_id=clinic_a.pk)
    return {
        "old": old,
        "viewed": record(
            "study.viewed",
            context=ALICE,
            clinic_id=clinic_a.pk,
            object_kind="study",
            object_reference="studyOne",
            study_reference="studyOne",
        ),
        "opened": record(
            "link.opened",
            context=DANA,
            clinic_id=clinic_a.pk,
            object_kind="link",
            object_reference="danasLinkdanasLink1234",
        ),
        "seen": record(
            "series.viewed",
            context=DANA,
            clinic_id=clinic_a.pk,
            object_kind="series",
            object_reference="seriesOne",
            study_reference="studyOne",
        ),
        "refused": record("access.denied", context=ALICE, clinic_id=clinic_a.pk, outcome="denied"),
        "foreign": record("study.viewed", context=ALICE, clinic_id=clinic_b.pk, study_reference="studyOfB"),
        "platform": record("user.created", context=ALICE, clinic_id=None),
    }


def shown(client: Client, **query: str) -> set[str]:
    """The public ids of the events on the page."""
    response = client.get(PAGE, query)
    assert response.status_code == 200
    return {event.public_id for event in response.context["events"]}


def ids(trail: dict[str, AuditEvent], *names: str) -> set[str]:
    return {trail[name].public_id for name in names}


def test_an_owner_reads_the_whole_trail_of_the_clinic_and_nothing_else(
    as_alice: Client, trail: dict[str, AuditEvent]
) -> None:
    page = shown(as_alice)
    assert ids(trail, "old", "viewed", "opened", "seen", "refused") <= page
    assert not ids(trail, "foreign", "platform") & page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "viewed"}, {"viewed", "seen"}),
        ({"kind": "links"}, {"opened", "seen"}),
        ({"kind": "sign-in"}, {"old"}),
        ({"kind": "refused"}, {"refused"}),
        ({"study": "studyOne"}, {"viewed", "seen"}),
        ({"study": "studyOfB"}, set()),
        ({"link": "danasLinkdanasLink1234"}, {"opened", "seen"}),
        ({"person": "ALICE@", "study": "studyOne"}, {"viewed"}),
        ({"kind": "viewed", "link": "danasLinkdanasLink1234"}, {"seen"}),
    ],
)
def test_filters_narrow_the_list(
    as_alice: Client, trail: dict[str, AuditEvent], query: dict[str, str], expected: set[str]
) -> None:
    assert shown(as_alice, **query) == ids(trail, *expected)


def test_a_period_is_whole_days(as_alice: Client, trail: dict[str, AuditEvent]) -> None:
    day = (timezone.now() - timedelta(days=3)).date().isoformat()
    assert shown(as_alice, since=day, until=day) == ids(trail, "old")
    response = as_alice.get(PAGE, {"since": "2026-02-02", "until": "2026-02-01"})
    assert "until" in response.context["form"].errors
    assert list(response.context["events"]) == []


def test_pages_go_on_where_the_last_one_ended(as_alice: Client, clinic_a: Clinic) -> None:
    made = [record("study.viewed", context=ALICE, clinic_id=clinic_a.pk).public_id for _ in range(120)]
    found: list[str] = []
    query = "kind=viewed"
    while query:
        response = as_alice.get(f"{PAGE}?{query}")
        found += [event.public_id for event in response.context["events"]]
        query = response.context["older_query"]
    assert found == made[::-1]


def test_an_event_of_another_clinic_is_no_place_to_go_on_from(as_alice: Client, trail: dict[str, AuditEvent]) -> None:
    assert shown(as_alice, before=trail["foreign"].public_id) >= ids(trail, "viewed", "seen")


def test_reading_the_trail_is_recorded_and_named_in_the_answer_AUD_07(
    as_alice: Client, trail: dict[str, AuditEvent], alice: User
) -> None:
    response = as_alice.get(PAGE, {"person": "bob", "study": "studyOne"})
    event = AuditEvent.objects.get(public_id=response["X-Audit-Id"])
    assert (event.verb, event.actor_id, event.study_reference) == ("audit.viewed", alice.pk, "studyOne")
    assert event.details == {"filters": ["person", "study"]}


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("auditor", 200), ("physician", 403), ("billing", 403)])
@pytest.mark.parametrize("address", [PAGE, EXPORT])
def test_owners_and_auditors_read_it(as_bob: Client, bob: User, role: str, status: int, address: str) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    assert as_bob.get(address).status_code == status


@pytest.mark.parametrize("address", [PAGE, EXPORT])
def test_people_of_another_clinic_find_nothing(as_charlie: Client, clinic_a: Clinic, address: str) -> None:
    assert as_charlie.get(address).status_code == 404


@pytest.mark.parametrize("address", [PAGE, EXPORT])
def test_the_page_only_reads(as_alice: Client, address: str) -> None:
    assert as_alice.post(address).status_code == 405


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get(EXPORT, query)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith("attachment")
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    return list(csv.DictReader(StringIO(text)))


def test_the_export_holds_what_the_filters_leave(as_alice: Client, trail: dict[str, AuditEvent]) -> None:
    rows = exported(as_alice, study="studyOne")
    assert {row["id"] for row in rows} == ids(trail, "viewed", "seen")
    seen = next(row for row in rows if row["verb"] == "series.viewed")
    assert seen["event"] == "Series viewed"
    assert seen["actor_kind"] == "link"
    assert seen["address"] == "198.51.100.9"
    assert AuditEvent.objects.filter(verb="audit.exported").count() == 1


def test_the_export_is_safe_to_open_in_a_spreadsheet_WEB_07(as_alice: Client, clinic_a: Clinic) -> None:
    evil = Context("user", "mallory", user_email="=cmd|'/c calc'!A1@evil.example", user_agent="@SUM(A1)\x00")
    record("study.viewed", context=evil, clinic_id=clinic_a.pk)
    (row,) = exported(as_alice, person="mallory")
    assert row["actor"] == "'=cmd|'/c calc'!A1@evil.example"
    assert row["user_agent"] == "'@SUM(A1)"


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\0=1", "\uff1d1"])
def test_every_beginning_of_a_formula_is_quoted_WEB_07(cell: str) -> None:
    quoted = quote_formula(cell)
    assert quoted.startswith("'")
    assert "\0" not in quoted


@pytest.mark.parametrize("cell", ["", "alice@alpha.example", "192.0.2.7", "2026-11-21T10:00:00+00:00", None, 7])
def test_plain_cells_stay_as_they_are(cell: object) -> None:
    assert quote_formula(cell) == ("" if cell is None else str(cell))
