"""Every event ends in exactly one seal, and any change of what was sealed is found and named."""

from __future__ import annotations

import hashlib
import json
import random  # reproducible tampering, not a secret
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from django.utils.timezone import get_fixed_timezone

from apps.audit import triggers
from apps.audit.merkle import FIELDS, leaf_of, root_of
from apps.audit.models import AuditEvent, Seal, SealMember
from apps.audit.services import ChainReport, Context, Entry, record, record_many, seal_events, verify_trail
from apps.clinics.models import Clinic
from apps.jobs.registry import PERIODIC

PROGRAM = Context.system("test")


def write(count: int, *, clinic_id: int | None = 7) -> list[AuditEvent]:
    return record_many(
        Entry("study.viewed", PROGRAM, clinic_id, object_reference=f"s{n}", details={"study_count": n})
        for n in range(count)
    )


def report_of(clinic_id: int | None = 7) -> ChainReport:
    (report,) = verify_trail([clinic_id])
    return report


def problem_of(clinic_id: int | None = 7) -> tuple[str, int | None] | None:
    problem = report_of(clinic_id).problem
    return (problem.code, problem.event_id) if problem else None


def tamper(sql: str, *parameters: object) -> None:
    """Do what the database's owner can do: take the triggers away, change rows, put the triggers back."""
    with triggers.removed(connection), connection.cursor() as cursor:
        cursor.execute(sql, parameters)


# --- the tree ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 13])
def test_root_is_the_tree_hash_of_rfc_6962(count: int) -> None:
    def tree_hash(leaves: list[bytes]) -> bytes:
        """RFC 6962 section 2.1, as written there: split at the largest power of two below n."""
        if not leaves:
            return hashlib.sha256(b"").digest()
        if len(leaves) == 1:
            return leaves[0]
        split = 1
        while split * 2 < len(leaves):
            split *= 2
        return hashlib.sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()

    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(count)]
    assert root_of(leaves) == tree_hash(leaves)


def test_encoding_is_unambiguous_and_the_same_in_every_time_zone() -> None:
    now = timezone.now()
    plain = leaf_of([1, "a", "bc", now])
    assert plain != leaf_of([1, "ab", "c", now]), "a boundary between fields must not move unnoticed"
    assert plain != leaf_of(["1", "a", "bc", now])
    assert plain != leaf_of([1, "a", "bc", now + timedelta(microseconds=1)])
    assert plain == leaf_of([1, "a", "bc", now.astimezone(get_fixed_timezone(120))])


# --- sealing ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_every_event_is_sealed_once_and_seals_have_no_gap_AUD_04() -> None:
    for size in (1, 4, 9):
        write(size)
        write(2, clinic_id=8)
        write(1, clinic_id=None)
        assert seal_events() == size + 3
    assert seal_events() == 0
    assert SealMember.objects.count() == AuditEvent.objects.count() == 23
    assert [seal.number for seal in Seal.objects.filter(chain=7)] == [1, 2, 3]
    assert [(report.clinic_id, report.event_count, report.problem) for report in verify_trail()] == [
        (None, 3, None),
        (7, 14, None),
        (8, 6, None),
    ]


@pytest.mark.django_db
def test_an_event_that_commits_late_enters_the_next_seal_AUD_04() -> None:
    late, *_others = write(5)
    with triggers.removed(connection):
        row = AuditEvent.objects.filter(pk=late.pk).values().get()
        AuditEvent.objects.filter(pk=late.pk).delete()
    seal_events()
    AuditEvent.objects.bulk_create([AuditEvent(**row)])
    assert seal_events() == 1
    assert [member.event_id for member in Seal.objects.get(number=2).members.all()] == [late.pk]
    assert report_of().problem is None


@pytest.mark.django_db
def test_after_a_long_pause_of_the_sealer_nothing_is_left_out_AUD_04() -> None:
    start = timezone.now()
    for hours in (0, 5, 6):
        with time_machine.travel(start + timedelta(hours=hours), tick=False):
            write(3)
            if hours != 5:
                seal_events()
    assert SealMember.objects.count() == 9
    with time_machine.travel(start + timedelta(days=2), tick=False):
        write(1)
        assert seal_events() == 1
        assert seal_events(everything=True) == 0


@pytest.mark.django_db(transaction=True)
def test_writers_and_sealers_at_once_seal_every_row_once_AUD_04() -> None:
    writers, rows_each = 16, 100
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def write_slowly() -> None:
        for n in range(rows_each // 4):
            with transaction.atomic():
                write(3)
                write(1, clinic_id=8 if n % 2 else None)

    threads = [threading.Thread(target=run, args=(write_slowly,)) for _ in range(writers)]
    for thread in threads:
        thread.start()
    sealers = 0
    while any(thread.is_alive() for thread in threads) or sealers < 2:
        pair = [threading.Thread(target=run, args=(seal_events,)) for _ in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        sealers += 1
    for thread in threads:
        thread.join()
    seal_events()
    assert failures == []
    assert SealMember.objects.count() == AuditEvent.objects.count() == writers * rows_each
    assert [report.problem for report in verify_trail()] == [None, None, None]


# --- tampering --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(db: None) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for _ in range(4):
        events += write(6)
        write(2, clinic_id=8)
        seal_events()
    return events


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("verb", "study.searched"),
        ("actor_email", "mallory@alpha.example"),
        ("remote_addr", "198.51.100.1"),
        ("additional_data", '{"study_count":77}'),
        ("object_reference", "other"),
        ("outcome", "denied"),
        ("public_id", "x" * 22),
        ("session_hash", "f" * 64),
        ("actor_id", 1),
    ],
)
def test_a_changed_row_is_named_AUD_04(sealed: list[AuditEvent], column: str, value: object) -> None:
    victim = sealed[8]
    tamper(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", value, victim.pk)
    assert problem_of() == ("event-changed", victim.pk)
    assert problem_of(8) is None, "another clinic's chain is not touched"


def test_a_changed_time_is_named_AUD_04(sealed: list[AuditEvent]) -> None:
    victim = sealed[0]
    tamper("UPDATE audit_auditevent SET timestamp = %s WHERE id = %s", "2020-01-01 00:00:00+00:00", victim.pk)
    assert problem_of() == ("event-changed", victim.pk)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the columns of PostgreSQL hold nothing but their type")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("timestamp", "2026-11-22 10:00:00.0123456"),
        ("timestamp", "2026-11-22 10:00:00.12345Z"),
        ("timestamp", "yesterday"),
        ("additional_data", '{"study_count":"2"}'),
        ("verb", b"study.viewed"),
        ("actor_id", "1"),
    ],
)
def test_what_nobody_ever_writes_is_named_AUD_04(sealed: list[AuditEvent], column: str, value: object) -> None:
    with time_machine.travel(datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC), tick=False):
        victim = write(3)[2]
        seal_events()
        assert problem_of() is None
        tamper(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", value, victim.pk)
        assert problem_of() == ("event-changed", victim.pk)


def test_a_trail_in_any_writing_and_of_a_whole_second_verifies_AUD_06(db: None) -> None:
    with time_machine.travel(datetime(2026, 11, 22, 10, 0, tzinfo=UTC), tick=False):
        context = Context("user", "alice", user_email="älice@example.org", user_agent='"\\\x7f\u2028😀')
        unsorted = record("study.viewed", context=context, clinic_id=7)
        tamper('UPDATE audit_auditevent SET additional_data = \'{"b": "ä", "a": 0.1}\' WHERE id = %s', unsorted.pk)
        record("study.viewed", context=context, clinic_id=7, details={"study_count": 2})
        seal_events()
        assert report_of().event_count == 2
        assert problem_of() is None


def test_a_deleted_row_is_named_AUD_04(sealed: list[AuditEvent]) -> None:
    tamper("DELETE FROM audit_auditevent WHERE id = %s", sealed[3].pk)
    assert problem_of() == ("event-missing", sealed[3].pk)


def test_a_row_moved_to_another_clinic_is_named_AUD_04(sealed: list[AuditEvent]) -> None:
    tamper("UPDATE audit_auditevent SET clinic_id = 8 WHERE id = %s", sealed[3].pk)
    assert problem_of() == ("event-moved", sealed[3].pk)


def test_the_first_of_several_bad_rows_is_named_AUD_06(sealed: list[AuditEvent]) -> None:
    tamper("UPDATE audit_auditevent SET verb = 'a.b' WHERE id IN (%s, %s)", sealed[20].pk, sealed[5].pk)
    assert problem_of() == ("event-changed", sealed[5].pk)


def test_a_leaf_changed_with_its_row_breaks_the_root_AUD_04(sealed: list[AuditEvent]) -> None:
    victim = sealed[8]
    tamper("UPDATE audit_auditevent SET verb = 'a.b' WHERE id = %s", victim.pk)
    forged = leaf_of(AuditEvent.objects.filter(pk=victim.pk).values_list(*FIELDS).get())
    tamper("UPDATE audit_sealmember SET leaf = %s WHERE event_id = %s", forged, victim.pk)
    assert problem_of() == ("root-changed", None)


def test_a_forged_root_breaks_the_chain_AUD_04(sealed: list[AuditEvent]) -> None:
    second = Seal.objects.get(chain=7, number=2)
    tamper("UPDATE audit_seal SET sealed_at = %s WHERE id = %s", "2020-01-01 00:00:00+00:00", second.pk)
    problem = report_of().problem
    assert problem is not None
    assert (problem.code, problem.seal_number) == ("chain-broken", 3)


def test_seals_taken_away_at_the_end_leave_old_unsealed_rows_AUD_04(sealed: list[AuditEvent]) -> None:
    last = Seal.objects.get(chain=7, number=4)
    tamper("DELETE FROM audit_sealmember WHERE seal_id = %s", last.pk)
    tamper("DELETE FROM audit_seal WHERE id = %s", last.pk)
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert problem_of() == ("unsealed", sealed[18].pk)


def test_a_seal_taken_out_of_the_middle_is_missed_AUD_04(sealed: list[AuditEvent]) -> None:
    second = Seal.objects.get(chain=7, number=2)
    tamper("DELETE FROM audit_sealmember WHERE seal_id = %s", second.pk)
    tamper("DELETE FROM audit_seal WHERE id = %s", second.pk)
    problem = report_of().problem
    assert problem is not None
    assert (problem.code, problem.seal_number) == ("seal-missing", 2)


def test_a_member_taken_out_of_its_seal_is_missed_AUD_04(sealed: list[AuditEvent]) -> None:
    tamper("DELETE FROM audit_sealmember WHERE event_id = %s", sealed[9].pk)
    report = report_of()
    assert report.problem is not None
    assert report.problem.code == "membership-changed"
    assert report.problem.seal_number == 2


def test_a_row_slipped_in_later_is_sealed_late_not_backdated_AUD_04(sealed: list[AuditEvent]) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=30)):
        forged = record("study.viewed", context=PROGRAM, clinic_id=7)
    assert problem_of() == ("unsealed", forged.pk)


def test_one_hundred_random_changes_are_all_found_AUD_06(sealed: list[AuditEvent]) -> None:
    chance = random.Random(20261121)
    columns = ["verb", "object_reference", "actor_reference", "request_id", "user_agent", "study_reference"]
    for _ in range(100):
        victim, column = chance.choice(sealed), chance.choice(columns)
        old = AuditEvent.objects.values_list(column, flat=True).get(pk=victim.pk)
        tamper(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", f"forged{chance.random()}"[:22], victim.pk)
        assert problem_of() == ("event-changed", victim.pk)
        tamper(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", old, victim.pk)
    assert problem_of() is None


# --- the command ------------------------------------------------------------------------------------------------------


def test_command_says_intact_and_exits_zero_AUD_06(clinic_a: Clinic) -> None:
    write(3, clinic_id=clinic_a.pk)
    seal_events()
    out = StringIO()
    call_command("verify_audit", json=True, clinic=clinic_a.slug, stdout=out)
    result = json.loads(out.getvalue())
    assert result["is_intact"] is True
    (chain,) = result["chains"]
    assert (chain["clinic"], chain["unsealed_count"], chain["problem"]) == (clinic_a.slug, 0, None)
    assert chain["event_count"] >= 3
    assert len(Counter(chain)) == len(chain)


def test_command_names_the_bad_row_and_exits_one_AUD_06(clinic_a: Clinic) -> None:
    victim = write(3, clinic_id=clinic_a.pk)[1]
    seal_events()
    tamper("UPDATE audit_auditevent SET verb = 'a.b' WHERE id = %s", victim.pk)
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("verify_audit", json=True, stdout=out)
    assert failed.value.returncode == 1
    (bad,) = [chain for chain in json.loads(out.getvalue())["chains"] if chain["problem"]]
    assert (bad["clinic"], bad["problem"]["event_id"]) == (clinic_a.slug, victim.pk)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("verify_audit", stdout=out)
    assert f"Event {victim.pk} of seal" in out.getvalue()


def test_command_reports_missing_triggers_AUD_06(db: None) -> None:
    triggers.remove(connection)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("verify_audit", json=True, stdout=out)
    assert "audit_auditevent" in out.getvalue()


def test_command_refuses_an_unknown_clinic(db: None) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        call_command("verify_audit", clinic="nowhere")


# --- by the clock -----------------------------------------------------------------------------------------------------


def test_the_scheduler_seals_every_minute_and_verifies_every_day_AUD_04() -> None:
    assert PERIODIC["audit.seal"].function is seal_events
    assert PERIODIC["audit.seal"].every_seconds <= 60
    assert PERIODIC["audit.verify"].every_seconds <= 24 * 60 * 60


@pytest.mark.django_db
def test_the_daily_verification_raises_the_alarm_AUD_06(caplog: pytest.LogCaptureFixture) -> None:
    victim = write(3)[0]
    PERIODIC["audit.verify"].function()
    assert "not intact" not in caplog.text
    tamper("UPDATE audit_auditevent SET verb = 'a.b' WHERE id = %s", victim.pk)
    PERIODIC["audit.verify"].function()
    assert "audit trail of clinic 7 is not intact" in caplog.text
