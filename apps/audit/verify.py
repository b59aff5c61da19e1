"""Verify the trail: recompute every leaf, root and link of the chains, and name the first row that does not agree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from django.db import DatabaseError, connection
from django.db.models import BigIntegerField, F, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from apps.audit.merkle import FIELDS, NO_DIGEST, SCHEMA_VERSION, digest_of, leaf_of, leaf_of_encoding, root_of
from apps.audit.models import AuditEvent, Seal, SealMember
from apps.audit.seal import PLATFORM_CHAIN, unsealed_events

CHUNK: Final = 5_000
_JSON: Final = tuple(FIELDS.index(name) for name in ("serialized_data", "changes", "additional_data"))
_MICROSECONDS: Final = (
    "CASE WHEN %(expressions)s GLOB '????-??-?? ??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]' "
    "THEN unixepoch(%(expressions)s) * 1000000 + CAST(substr(%(expressions)s, 21) AS INTEGER) END"
)
# `merkle.event_values` in its canonical encoding, written by SQLite.
_ENCODING: Final = Func(
    Value(SCHEMA_VERSION),
    *(Func(name, function="json") if index in _JSON else F(name) for index, name in enumerate(FIELDS[:-1])),
    Func(FIELDS[-1], template=_MICROSECONDS, output_field=BigIntegerField()),
    function="json_array",
    output_field=TextField(),
)


@dataclass(frozen=True)
class Problem:
    """The first thing in a chain that does not agree. `event_id` and `seal_number` say where."""

    code: str
    message: str
    seal_number: int | None = None
    event_id: int | None = None


@dataclass(frozen=True)
class ChainReport:
    """What was found in one chain (`clinic_id` None: the platform's own)."""

    clinic_id: int | None
    event_count: int
    seal_count: int
    unsealed_count: int
    problem: Problem | None


class _BrokenError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def verify_trail(
    clinic_ids: Iterable[int | None] | None = None, *, max_unsealed_minutes: int = 5
) -> Iterator[ChainReport]:
    """Yield a report for each chain, or for those of the given clinics.

    Events unsealed for longer than `max_unsealed_minutes` are a problem: the sealer is not running, or somebody took
    seals away.
    """
    if clinic_ids is None:
        # order_by(): the model's own ordering would join the columns of DISTINCT.
        chains = set(Seal.objects.order_by().values_list("chain", flat=True).distinct())
        chains |= {
            clinic_id or PLATFORM_CHAIN
            for clinic_id in AuditEvent.objects.order_by().values_list("clinic_id", flat=True).distinct()
        }
    else:
        chains = {clinic_id or PLATFORM_CHAIN for clinic_id in clinic_ids}
    for chain in sorted(chains):
        yield _verify_chain(chain, max_unsealed_minutes)


def _verify_chain(chain: int, max_unsealed_minutes: int) -> ChainReport:
    clinic_id = None if chain == PLATFORM_CHAIN else chain
    event_count = seal_count = 0
    problem: Problem | None = None
    previous = NO_DIGEST
    members = _members(chain)
    try:
        for seal in Seal.objects.filter(chain=chain).order_by("number").iterator():
            seal_count += 1
            _check_seal(seal, seal_count, previous)
            leaves = list(islice(members, seal.count))
            event_count += len(leaves)
            for position, (seal_id, event_id, stored_position, leaf) in enumerate(leaves):
                if seal_id != seal.pk or stored_position != position:
                    raise _BrokenError(
                        Problem(
                            "membership-changed",
                            f"Seal {seal.number} lists event {event_id} out of place.",
                            seal.number,
                            event_id,
                        )
                    )
                if not leaf:
                    raise _BrokenError(_bad_event(event_id, seal))
            if len(leaves) != seal.count:
                raise _BrokenError(
                    Problem("membership-changed", f"Seal {seal.number} has lost some of its events.", seal.number)
                )
            if root_of([leaf for *_, leaf in leaves]) != bytes(seal.root):
                raise _BrokenError(
                    Problem("root-changed", f"The root of seal {seal.number} does not fit its events.", seal.number)
                )
            previous = digest_of(seal)
        extra = next(members, None)
        if extra is not None:
            raise _BrokenError(
                Problem("membership-changed", f"Event {extra[1]} is listed beyond the last seal.", None, extra[1])
            )
    except _BrokenError as broken:
        problem = broken.problem
    unsealed = unsealed_events().filter(clinic_id=clinic_id)
    late = (
        unsealed.filter(timestamp__lt=timezone.now() - timedelta(minutes=max_unsealed_minutes)).order_by("pk").first()
    )
    if problem is None and late is not None:
        message = f"Event {late.pk} is not sealed although it is older than {max_unsealed_minutes} minutes."
        problem = Problem("unsealed", message, None, late.pk)
    return ChainReport(clinic_id, event_count, seal_count, unsealed.count(), problem)


def _check_seal(seal: Seal, expected_number: int, previous: bytes) -> None:
    if seal.number != expected_number:
        raise _BrokenError(Problem("seal-missing", f"Seal {expected_number} is missing.", expected_number))
    if bytes(seal.previous) != previous:
        message = f"Seal {seal.number} does not continue the one before it: one of the two was changed."
        raise _BrokenError(Problem("chain-broken", message, seal.number))


def _bad_event(event_id: int, seal: Seal) -> Problem:
    where = AuditEvent.objects.filter(pk=event_id).values_list("clinic_id", flat=True)
    if not where:
        return Problem("event-missing", f"Event {event_id} of seal {seal.number} is gone.", seal.number, event_id)
    if (where[0] or PLATFORM_CHAIN) != seal.chain:
        message = f"Event {event_id} of seal {seal.number} was moved to another clinic."
        return Problem("event-moved", message, seal.number, event_id)
    return Problem("event-changed", f"Event {event_id} of seal {seal.number} was changed.", seal.number, event_id)


def _members(chain: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (seal id, event id, position, leaf) in the chain's order; an empty leaf where the event no longer fits."""
    clinic_id = None if chain == PLATFORM_CHAIN else chain
    rows = (
        SealMember.objects.filter(seal__chain=chain)
        .order_by("seal__number", "position")
        .values_list("seal_id", "event_id", "position", "leaf")
        .iterator(chunk_size=CHUNK)
    )
    while chunk := list(islice(rows, CHUNK)):
        ids = [event_id for _, event_id, _, _ in chunk]
        events = AuditEvent.objects.filter(clinic_id=clinic_id, pk__gte=min(ids), pk__lte=max(ids))
        leaves = _leaves_of_sqlite(events) if connection.vendor == "sqlite" else {}
        differing = [event_id for _, event_id, _, stored in chunk if leaves.get(event_id) != bytes(stored)]
        if differing:
            leaves |= _leaves(events.filter(pk__in=differing) if leaves else events)
        for seal_id, event_id, position, stored in chunk:
            found = leaves.get(event_id, b"")
            yield seal_id, event_id, position, found if found == bytes(stored) else b""


def _leaves(events: QuerySet[AuditEvent]) -> Iterator[tuple[int, bytes]]:
    """Yield number and leaf of each event; an empty leaf where a column holds what nobody of us ever wrote there."""
    # Raw rows cost a third of what `values_list` does: most values need no conversion.
    chosen = events.order_by().values_list(*FIELDS[:-1], Cast(FIELDS[-1], TextField()))
    sql, parameters = chosen.query.get_compiler(using=connection.alias).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        while chunk := cursor.fetchmany(CHUNK):
            for values in map(list, chunk):
                try:
                    for index in _JSON:
                        if values[index] is not None:
                            values[index] = json.loads(values[index])
                    instant = datetime.fromisoformat(values[-1])
                    # SQLite has no time zones: everything in it is UTC.
                    values[-1] = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
                    yield values[0], leaf_of(values)
                except (TypeError, ValueError):
                    yield values[0], b""


def _leaves_of_sqlite(events: QuerySet[AuditEvent]) -> dict[int, bytes]:
    """Return number and leaf of the events of which SQLite itself can write the canonical encoding: most of them.

    A leaf that is right can only come of the right values, and this takes a third of the time. Where keys are not in
    order, letters are beyond ASCII or an instant has no fraction the two encodings differ, and `_leaves` decides.
    """
    try:
        rows = events.order_by().values_list("pk", _ENCODING)
        return {number: leaf_of_encoding(text.encode()) for number, text in rows.iterator(CHUNK)}
    except DatabaseError:
        # A column holds bytes, or JSON that is none.
        return {}
