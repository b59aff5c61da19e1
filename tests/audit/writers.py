"""The trail at its limits, outside the suite: `pytest tests/audit/writers.py -s`, with `TEST_STACK=servers` as well.

64 writers with 1,000 rows each and open transactions while the sealer runs (AUD-04), how many rows a CPU second
verifies (AUD-06), and 1,000 random tamperings (AUD-05): each has to be found.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from apps.audit import triggers
from apps.audit.models import AuditEvent, Seal, SealMember
from apps.audit.services import Context, record, seal_events, verify_trail

WRITERS, ROWS, TAMPERINGS = 64, 1_000, 1_000
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]


def write(writer: int) -> None:
    context = Context("user", f"writer{writer}", user_email=f"{writer}@example.org", remote_addr="192.0.2.1")
    try:
        for start in range(0, ROWS, 10):
            with transaction.atomic():
                for number in range(start, start + 10):
                    record(
                        "series.viewed", context=context, clinic_id=writer % 4 + 1, object_kind="series",
                        object_reference=f"r{number}", patient_reference="P", study_reference="S",
                    )  # fmt: skip
    finally:
        connection.close()


def test_every_row_ends_in_exactly_one_seal_and_verifies_fast_AUD_04_AUD_06() -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        working = [pool.submit(write, writer) for writer in range(WRITERS)]
        while not all(one.done() for one in working):
            seal_events()
        for one in working:
            one.result()
    seal_events()
    total = WRITERS * ROWS
    print(f"\n{total} rows by {WRITERS} writers in {time.monotonic() - started:.0f} s, {Seal.objects.count()} seals")
    assert AuditEvent.objects.count() == SealMember.objects.count() == total
    assert SealMember.objects.values("event_id").distinct().count() == total
    for chain in range(1, 5):
        numbers = list(Seal.objects.filter(chain=chain).order_by("number").values_list("number", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))
    begun = time.process_time()
    reports = list(verify_trail())
    seconds = time.process_time() - begun
    assert all(report.problem is None for report in reports)
    print(f"verified {total} rows in {seconds:.2f} CPU s: {total / seconds:,.0f} rows a CPU second")
    tamper(total)


def tamper(total: int) -> None:
    """Change, remove, move and reseal at random, as somebody who owns the database: each time it is found."""
    chance = random.Random(4711)  # the same tamperings every time
    ids = list(AuditEvent.objects.values_list("pk", flat=True))
    seals = list(Seal.objects.values_list("pk", flat=True))
    texts = ("actor_email", "verb", "object_reference", "study_reference", "user_agent", "outcome", "remote_addr")
    missed = 0
    with triggers.removed(connection):
        for number in range(TAMPERINGS):
            event = AuditEvent.objects.get(pk=chance.choice(ids))
            kind = number % 5
            with transaction.atomic():
                if kind == 0:
                    value = "192.0.2.99" if (name := chance.choice(texts)) == "remote_addr" else "x"
                    AuditEvent.objects.filter(pk=event.pk).update(**{name: value})
                elif kind == 1:
                    AuditEvent.objects.filter(pk=event.pk).delete()
                elif kind == 2:
                    AuditEvent.objects.filter(pk=event.pk).update(clinic_id=(event.clinic_id or 0) % 4 + 1)
                elif kind == 3:
                    Seal.objects.filter(pk=chance.choice(seals)).update(root=bytes(32))
                else:
                    SealMember.objects.filter(event_id=event.pk).delete()
                chains = {event.clinic_id} if kind != 3 else None
                missed += all(report.problem is None for report in verify_trail(chains, max_unsealed_minutes=0))
                transaction.set_rollback(True)
    print(f"{TAMPERINGS - missed} of {TAMPERINGS} tamperings found, in {total} rows")
    assert missed == 0
