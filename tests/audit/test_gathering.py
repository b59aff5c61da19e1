"""Records of many threads at once: each is committed before its writer goes on, and nobody is told to wait too long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction

from apps.audit.gathering import insert_events
from apps.audit.models import AuditEvent
from apps.audit.services import Context, record

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS = 64


def write(writer: int) -> AuditEvent:
    return record("study.viewed", context=Context("user", f"writer{writer}"), clinic_id=1)


def test_what_is_returned_is_committed_AUD_01() -> None:
    def work(writer: int) -> bool:
        try:
            events = [write(writer) for _ in range(5)]
            # In SQLite's write-ahead log nobody sees what is not committed, not even this thread another one's.
            return AuditEvent.objects.filter(pk__in=[event.pk for event in events]).count() == len(events)
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(work, range(WRITERS)))
    assert AuditEvent.objects.count() == 5 * WRITERS


def test_transactions_of_many_threads_take_turns_AUD_04() -> None:
    def work(writer: int) -> None:
        try:
            for _ in range(3):
                with transaction.atomic():
                    write(writer)
                    write(writer)
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))
    assert AuditEvent.objects.count() == 6 * WRITERS


def test_a_record_that_cannot_be_written_spoils_no_other_AUD_02() -> None:
    def work(writer: int) -> str:
        verb = None if writer % 8 == 0 else "study.viewed"
        try:
            insert_events([AuditEvent(verb=verb, clinic_id=1)])
        except IntegrityError:
            return "refused"
        finally:
            connection.close()
        return "written"

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(work, range(WRITERS)))
    assert outcomes.count("refused") == WRITERS // 8
    assert outcomes.count("written") == AuditEvent.objects.count() == WRITERS - WRITERS // 8
