"""Writing down what happened, and finding the record that covers a request."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.errors import AuditUnavailableError, EventRefusedError
from apps.audit.models import AuditEvent
from apps.audit.services import Context, Entry, acting, covering_event, current_context, record, record_many
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic

BROWSER = Context(
    actor_kind="user",
    actor_reference="aliceAliceAliceAlice22",
    user_email="alice@alpha.example",
    remote_addr="192.0.2.7",
    user_agent="Firefox\n200",
    session_hash="a" * 64,
    request_id="1234567890abcdef",
)


@pytest.mark.django_db
def test_event_says_who_what_when_and_from_where_AUD_07() -> None:
    event = record(
        "study.viewed",
        context=BROWSER,
        clinic_id=7,
        object_kind="study",
        object_reference="study-one",
        patient_reference="patient-one",
        study_reference="study-one",
        details={"series_count": 3, "is_limited": False, "filters": ["modality", "date"]},
    )
    event.refresh_from_db()
    assert (event.verb, event.outcome, event.clinic_id) == ("study.viewed", "success", 7)
    assert (event.actor_kind, event.actor_reference) == ("user", "aliceAliceAliceAlice22")
    assert (event.actor_email, event.remote_addr) == ("alice@alpha.example", "192.0.2.7")
    assert (event.object_kind, event.object_reference) == ("study", "study-one")
    assert (event.patient_reference, event.study_reference) == ("patient-one", "study-one")
    assert (event.session_hash, event.request_id) == ("a" * 64, "1234567890abcdef")
    assert event.user_agent == "Firefox200", "a line break could forge a line of a log"
    assert event.details == {"series_count": 3, "is_limited": False, "filters": ["modality", "date"]}
    assert timezone.now() - event.timestamp < timedelta(minutes=1)


@pytest.mark.parametrize(
    "details",
    [
        {"patient_name": "Doe^Jane"},
        {"reason": "Doe^Jane"},
        {"reason": "Jane Doe, born 1970"},
        {"study_count": "12"},
        {"study_count": True},
        {"is_limited": 1},
        {"expires_at": "next week"},
        {"link_reference": "Doe^Jane"},
        {"filters": ["modality", "Doe^Jane"]},
        {"filters": ["modality"] * 201},
        {"reason": None},
    ],
)
def test_free_text_and_unknown_details_are_refused_AUD_07(details: dict[str, object]) -> None:
    with pytest.raises(EventRefusedError) as refused:
        record("study.viewed", context=BROWSER, clinic_id=7, details=details)  # type: ignore[arg-type]
    assert "Doe" not in str(refused.value), "the refusal must not repeat what must not be written down"


@pytest.mark.parametrize(
    "entry",
    [
        Entry("viewed", BROWSER, 7),
        Entry("Study.Viewed", BROWSER, 7),
        Entry("study.viewed", BROWSER, 7, object_reference="Doe^Jane"),
        Entry("study.viewed", BROWSER, 7, patient_reference="Jane Doe"),
        Entry("study.viewed", BROWSER, 7, outcome="maybe"),
    ],
)
def test_what_is_no_verb_reference_or_outcome_is_refused_AUD_07(entry: Entry) -> None:
    with pytest.raises(EventRefusedError):
        record_many([entry])


@pytest.mark.django_db
def test_many_events_take_one_insert() -> None:
    with CaptureQueriesContext(connection) as queries:
        events = record_many(Entry("instance.stored", BROWSER, 7, object_reference=f"i{n}") for n in range(30))
    assert len([query for query in queries if "INSERT" in query["sql"]]) == 1
    assert len({event.pk for event in events}) == 30


@pytest.mark.django_db
def test_no_record_can_be_written_is_an_error_of_its_own_AUD_02() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent RENAME TO audit_gone")
    with pytest.raises(AuditUnavailableError) as unavailable:
        record("study.viewed", context=BROWSER, clinic_id=7)
    assert unavailable.value.code == "audit-unavailable"


def cover(**changes: object) -> AuditEvent | None:
    wanted: dict[str, object] = {
        "context": BROWSER,
        "clinic_id": 7,
        "verb": "series.viewed",
        "object_kind": "series",
        "object_reference": "series-one",
    }
    return covering_event(**(wanted | changes))  # type: ignore[arg-type]


@pytest.fixture
def viewed(db: None) -> AuditEvent:
    return record("series.viewed", context=BROWSER, clinic_id=7, object_kind="series", object_reference="series-one")


def test_a_young_record_of_the_same_viewer_covers_the_series_AUD_01(viewed: AuditEvent) -> None:
    assert cover() == viewed


@pytest.mark.parametrize(
    "changes",
    [
        {"object_reference": "series-two"},
        {"clinic_id": 8},
        {"verb": "series.downloaded"},
        {"context": Context("user", "bobBobBobBobBobBobBob2", session_hash="a" * 64)},
        {"context": Context("user", "aliceAliceAliceAlice22", session_hash="b" * 64)},
        {"context": Context("link", "aliceAliceAliceAlice22", session_hash="a" * 64)},
        {"context": Context("anonymous", "", session_hash="a" * 64)},
    ],
)
def test_somebody_elses_record_covers_nothing_AUD_01(viewed: AuditEvent, changes: dict[str, object]) -> None:
    assert cover(**changes) is None


def test_a_refused_attempt_covers_nothing_AUD_01(db: None) -> None:
    record(
        "series.viewed",
        context=BROWSER,
        clinic_id=7,
        object_kind="series",
        object_reference="series-one",
        outcome="denied",
    )
    assert cover() is None


def test_after_five_minutes_a_new_record_is_due_AUD_01(viewed: AuditEvent) -> None:
    with time_machine.travel(viewed.timestamp + timedelta(seconds=299), tick=False):
        assert cover() == viewed
    with time_machine.travel(viewed.timestamp + timedelta(seconds=301), tick=False):
        assert cover() is None


def test_the_acting_context_ends_with_its_block() -> None:
    with acting(BROWSER):
        with acting(Context.system("import")):
            assert current_context().actor_reference == "import"
        assert current_context() is BROWSER
    assert current_context().actor_kind == "system"


def test_change_of_a_clinic_is_attributed_and_names_nobody_AUD_07(clinic_a: Clinic) -> None:
    with acting(BROWSER):
        clinic_a.name = "Jane Doe Imaging"
        clinic_a.idle_timeout_minutes = 20
        clinic_a.save()
    event = AuditEvent.objects.get(verb="clinic.changed")
    assert event.changes == {"idle_timeout_minutes": ["15", "20"]}
    assert (event.clinic_id, event.object_reference) == (clinic_a.pk, clinic_a.public_id)
    assert (event.actor_email, event.remote_addr) == ("alice@alpha.example", "192.0.2.7")
    assert "Doe" not in f"{event.object_repr}{event.changes}{event.object_pk}"


def test_no_password_hash_or_name_of_an_account_is_in_the_trail_AUD_07(bob: User) -> None:
    bob.set_password("Another-Horse-8-Battery")
    bob.name = "Robert"
    bob.is_active = False
    bob.save()
    event = AuditEvent.objects.get(verb="user.changed")
    assert event.changes == {"is_active": ["True", "False"]}
    created = AuditEvent.objects.get(verb="user.created", object_reference=bob.public_id)
    assert "argon2" not in str(created.changes)
    assert "bob@alpha.example" not in str(created.changes)


def test_deleting_a_person_leaves_their_events_AUD_03(bob: User) -> None:
    record("study.viewed", context=Context("user", bob.public_id, user_id=bob.pk), clinic_id=7)
    number = bob.pk
    with every_clinic():
        bob.delete()
    assert AuditEvent.objects.filter(verb="study.viewed", actor_id=number).count() == 1
