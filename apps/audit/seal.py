"""Seal events: every minute, everything not sealed yet, into one Merkle root for each clinic, chained to the last.

Plain inserts stay plain (chaining at insert would serialise all writers of a clinic). Which events a seal covers is
kept in SealMember, so an event whose transaction commits late simply enters the next seal.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from apps.audit.merkle import FIELDS, NO_DIGEST, SCHEMA_VERSION, digest_of, leaf_of, root_of
from apps.audit.models import AuditEvent, Seal, SealMember

# Bounds the time for which one sealing transaction holds SQLite's only write lock.
BATCH: Final = 5_000

# No transaction of ours lives longer: an event with a number this much older than the newest seal has been committed.
LONGEST_TRANSACTION: Final = timedelta(hours=1)

PLATFORM_CHAIN: Final = 0


def seal_events(*, everything: bool = False) -> int:
    """Seal what is not sealed yet and return how many events that were.

    `everything` looks at the whole trail instead of its recent part (slower; once a day is plenty). When another
    process is sealing at the same moment, this one leaves the rest to it.
    """
    start = 0 if everything else _watermark()
    sealed = 0
    while True:
        rows = list(unsealed_events().filter(pk__gt=start).order_by("pk").values_list(*FIELDS)[:BATCH])
        if not rows:
            return sealed
        try:
            _seal_batch(rows)
        except IntegrityError:
            return sealed
        sealed += len(rows)
        start = max(start, rows[-1][0]) if everything else start


def unsealed_events() -> QuerySet[AuditEvent]:
    """Return the events that stand in no seal yet."""
    return AuditEvent.objects.filter(~Exists(SealMember.objects.filter(event_id=OuterRef("pk"))))


def recent_unsealed_events() -> QuerySet[AuditEvent]:
    """Return the unsealed events that `seal_events()` takes next, without a look at the whole trail."""
    return unsealed_events().filter(pk__gt=_watermark())


def _watermark() -> int:
    # Relative to the newest seal, not to the clock: while the sealer was down nothing was sealed in between.
    newest = Seal.objects.order_by("-sealed_at").first()
    if newest is None:
        return 0
    settled = Seal.objects.filter(sealed_at__lt=newest.sealed_at - LONGEST_TRANSACTION)
    return settled.order_by("-last_event_id").values_list("last_event_id", flat=True).first() or 0


def _seal_batch(rows: list[tuple[Any, ...]]) -> None:
    # All chains in one transaction, in order of the events' numbers: after a crash only later numbers are unsealed.
    clinic_index = FIELDS.index("clinic_id")
    by_chain: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for chain, group in groupby(rows, key=itemgetter(clinic_index)):
        by_chain[chain or PLATFORM_CHAIN].extend((row[0], leaf_of(row)) for row in group)
    with transaction.atomic():
        members: list[SealMember] = []
        for chain, leaves in sorted(by_chain.items()):
            last = Seal.objects.filter(chain=chain).order_by("-number").first()
            seal = Seal.objects.create(
                chain=chain,
                number=last.number + 1 if last else 1,
                count=len(leaves),
                root=root_of([leaf for _, leaf in leaves]),
                previous=digest_of(last) if last else NO_DIGEST,
                last_event_id=leaves[-1][0],
                schema_version=SCHEMA_VERSION,
                sealed_at=timezone.now(),
            )
            members += [
                SealMember(event_id=event_id, seal=seal, position=position, leaf=leaf)
                for position, (event_id, leaf) in enumerate(leaves)
            ]
        SealMember.objects.bulk_create(members, batch_size=2_000)
