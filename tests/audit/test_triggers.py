"""The trail is append-only, whoever asks the database."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from apps.audit import triggers
from apps.audit.models import AuditEvent, Seal, SealMember
from apps.audit.services import Context, record, seal_events

IS_SQLITE = "sqlite" in connection.vendor
PROGRAM = Context.system("test")


@pytest.fixture
def event(db: None) -> AuditEvent:
    event = record("study.viewed", context=PROGRAM, clinic_id=7)
    record("study.viewed", context=PROGRAM, clinic_id=7)
    seal_events()
    return event


ATTEMPTS = [
    "UPDATE audit_auditevent SET verb = 'study.deleted'",
    "UPDATE audit_auditevent SET clinic_id = 8 WHERE id = {id}",
    "DELETE FROM audit_auditevent",
    "DELETE FROM audit_auditevent WHERE id = {id}",
    "UPDATE audit_seal SET root = previous",
    "DELETE FROM audit_seal",
    "UPDATE audit_sealmember SET position = 9",
    "DELETE FROM audit_sealmember",
]
SQLITE_ATTEMPTS = [
    "UPDATE OR REPLACE audit_auditevent SET id = id + 1",
    "REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent WHERE id = {id}",
    "INSERT OR REPLACE INTO audit_auditevent ({columns}) SELECT {other_columns} FROM audit_auditevent WHERE id = {id}",
    "REPLACE INTO audit_seal SELECT * FROM audit_seal",
    "REPLACE INTO audit_sealmember SELECT * FROM audit_sealmember",
    "REPLACE INTO audit_sealmember SELECT event_id + 1000, position, leaf, seal_id FROM audit_sealmember",
    "DELETE FROM audit_auditevent WHERE id IN (SELECT id FROM audit_auditevent ORDER BY id DESC LIMIT 1)",
]
POSTGRESQL_ATTEMPTS = [
    "TRUNCATE audit_auditevent",
    "TRUNCATE audit_auditevent RESTART IDENTITY CASCADE",
    "TRUNCATE audit_seal CASCADE",
    "TRUNCATE audit_sealmember",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_auditevent",
    "SET LOCAL session_replication_role = replica; UPDATE audit_auditevent SET verb = 'x.y'",
    "SET LOCAL session_replication_role = replica; TRUNCATE audit_auditevent",
    "INSERT INTO audit_auditevent SELECT * FROM audit_auditevent ON CONFLICT (id) DO UPDATE SET verb = 'x.y'",
    "WITH gone AS (DELETE FROM audit_auditevent RETURNING id) SELECT count(*) FROM gone",
    "MERGE INTO audit_auditevent USING (SELECT {id} AS k) s ON id = s.k WHEN MATCHED THEN DELETE",
]


@pytest.mark.parametrize("statement", ATTEMPTS + (SQLITE_ATTEMPTS if IS_SQLITE else POSTGRESQL_ATTEMPTS))
def test_sql_cannot_change_the_trail_AUD_03(event: AuditEvent, statement: str) -> None:
    before = rows()
    columns = [field.column for field in AuditEvent._meta.concrete_fields]
    sql = statement.format(
        id=event.pk,
        columns=", ".join(columns),
        other_columns=", ".join("id + 1000" if column == "id" else column for column in columns),
    )
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert rows() == before


def rows() -> list[object]:
    return [list(model.objects.order_by("pk").values_list()) for model in (AuditEvent, Seal, SealMember)]


def test_the_orm_cannot_change_the_trail_AUD_03(event: AuditEvent) -> None:
    event.verb = "study.deleted"
    for act in (event.save, event.delete, AuditEvent.objects.all().delete):
        with pytest.raises(DatabaseError), transaction.atomic():
            act()


def test_auditlogs_own_flush_cannot_empty_the_trail_AUD_03(event: AuditEvent) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        call_command("auditlogflush", "--yes", verbosity=0)
    assert AuditEvent.objects.filter(pk=event.pk).exists()


def test_nothing_cascades_into_the_trail_AUD_03() -> None:
    for field in AuditEvent._meta.get_fields():
        if field.is_relation and not field.auto_created:
            assert field.remote_field.on_delete.__name__ == "DO_NOTHING"
            assert field.db_constraint is False


def test_check_finds_a_missing_trigger_and_migrate_arms_it_again_AUD_03(db: None) -> None:
    assert run_checks(databases=["default"], tags=["database"]) == []
    triggers.remove(connection)
    (problem,) = run_checks(databases=["default"], tags=["database"])
    assert problem.id == "audit.E001"
    assert "audit_auditevent" in str(problem.msg)
    call_command("migrate", verbosity=0, skip_checks=True)
    assert triggers.missing(connection) == []


@pytest.mark.skipif(IS_SQLITE, reason="only PostgreSQL can disable a trigger without dropping it")
def test_a_disabled_trigger_counts_as_missing_AUD_03(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER audit_auditevent_ro")
    assert triggers.missing(connection) == ["audit_auditevent_ro"]
    triggers.install(connection)
    assert triggers.missing(connection) == []


def test_installing_twice_changes_nothing(db: None) -> None:
    triggers.install(connection)
    triggers.install(connection)
    assert triggers.missing(connection) == []
