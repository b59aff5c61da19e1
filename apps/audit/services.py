"""The door of the audit room: write down what happened, find the record that covers a request, seal, verify."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db import Error, connection
from django.db.models import Max, Min
from django.utils import timezone

from apps.audit import triggers
from apps.audit.context import Context, acting, current_context
from apps.audit.details import check_details
from apps.audit.errors import AuditUnavailableError, EventRefusedError
from apps.audit.export import quote_formula
from apps.audit.gathering import insert_events
from apps.audit.merkle import digest_of
from apps.audit.models import AuditEvent, Outcome, Seal, columns_of
from apps.audit.receipts import NotSealedError, proof_of
from apps.audit.seal import recent_unsealed_events, seal_events
from apps.audit.verify import ChainReport, Problem, verify_trail
from apps.clinics.services import Asked, PreparedQuery

__all__ = [
    "COVER_SECONDS",
    "ChainReport",
    "Context",
    "Entry",
    "NotSealedError",
    "Outcome",
    "Problem",
    "acting",
    "covering_event",
    "current_context",
    "digest_of",
    "proof_of",
    "quote_formula",
    "record",
    "record_many",
    "seal_events",
    "trail_health",
    "verify_trail",
]

# How long one record of a series covers further requests of the same viewer for the same series.
COVER_SECONDS: Final = 300

_VERB = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")
_REFERENCE = re.compile(r"[A-Za-z0-9_.:-]{0,64}")


_COVERING = PreparedQuery(
    lambda: AuditEvent.objects.filter(
        session_hash=Asked("session_hash"),
        object_reference=Asked("object_reference"),
        timestamp__gte=Asked("since"),
        clinic_id=Asked("clinic_id"),
        verb=Asked("verb"),
        object_kind=Asked("object_kind"),
        outcome=Outcome.SUCCESS,
        actor_kind=Asked("actor_kind"),
        actor_reference=Asked("actor_reference"),
    ).order_by("-timestamp")
)


@dataclass(frozen=True)
class Entry:
    """One thing to write down; see `record`."""

    verb: str
    context: Context
    clinic_id: int | None
    object_kind: str = ""
    object_reference: str = ""
    patient_reference: str = ""
    study_reference: str = ""
    outcome: str = Outcome.SUCCESS
    details: Mapping[str, Any] | None = field(default=None)


def record(
    verb: str,
    *,
    context: Context,
    clinic_id: int | None,
    object_kind: str = "",
    object_reference: str = "",
    patient_reference: str = "",
    study_reference: str = "",
    outcome: str = Outcome.SUCCESS,
    details: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Write one event and return it; it is committed with the caller's transaction, or at once without one.

    `verb` is noun.past (`study.viewed`); references are public ids; `outcome` is success, denied or failure; `details`
    are allow-listed (apps.audit.details). Raises AuditUnavailableError when the row cannot be written: then nothing may
    be shown. Raises EventRefusedError for something the trail does not take.
    """
    entry = Entry(
        verb=verb,
        context=context,
        clinic_id=clinic_id,
        object_kind=object_kind,
        object_reference=object_reference,
        patient_reference=patient_reference,
        study_reference=study_reference,
        outcome=outcome,
        details=details,
    )
    return record_many([entry])[0]


def record_many(entries: Iterable[Entry]) -> list[AuditEvent]:
    """Write many events with one insert; errors as `record`."""
    events = [_event_of(entry) for entry in entries]
    try:
        insert_events(events)
    except Error as error:
        raise AuditUnavailableError from error
    return events


def covering_event(
    *,
    context: Context,
    clinic_id: int | None,
    verb: str,
    object_kind: str,
    object_reference: str,
    max_age_seconds: int = COVER_SECONDS,
) -> AuditEvent | None:
    """Return the record that already covers this: same actor, session, verb and object, successful and still young.

    Returns None when there is none, and always for somebody without a reference (nobody else's record may cover them).
    Raises AuditUnavailableError when the trail cannot be read.
    """
    if not context.actor_reference or not object_reference:
        return None
    try:
        return _COVERING.first(
            session_hash=context.session_hash[:64],
            object_reference=object_reference,
            since=timezone.now() - timedelta(seconds=max_age_seconds),
            clinic_id=clinic_id,
            verb=verb,
            object_kind=object_kind,
            actor_kind=context.actor_kind,
            actor_reference=context.actor_reference[:64],
        )
    except Error as error:
        raise AuditUnavailableError from error


def trail_health() -> dict[str, object]:
    """Return the trail's state for a health page.

    `unsealed_count` counts what the next pass of the sealer takes; `oldest_unsealed_seconds` above a few minutes means
    that it is not running; `missing_triggers` are names.
    """
    unsealed = recent_unsealed_events()
    oldest = unsealed.aggregate(at=Min("timestamp"))["at"]
    return {
        "unsealed_count": unsealed.count(),
        "oldest_unsealed_seconds": round((timezone.now() - oldest).total_seconds()) if oldest else 0,
        "last_sealed_at": Seal.objects.aggregate(at=Max("sealed_at"))["at"],
        "missing_triggers": triggers.missing(connection),
    }


def _event_of(entry: Entry) -> AuditEvent:
    if not _VERB.fullmatch(entry.verb):
        raise EventRefusedError(f"The verb {entry.verb!r} is not of the form noun.past.")
    if entry.outcome not in Outcome.values:
        raise EventRefusedError(f"The outcome {entry.outcome!r} is not success, denied or failure.")
    for reference in (entry.object_kind, entry.object_reference, entry.patient_reference, entry.study_reference):
        if not _REFERENCE.fullmatch(reference):
            # The value is not quoted: it may be what must not be written down.
            raise EventRefusedError("A reference in the trail is a public id or a code, nothing else.")
    return AuditEvent(
        verb=entry.verb,
        clinic_id=entry.clinic_id,
        object_kind=entry.object_kind,
        object_reference=entry.object_reference,
        object_pk=entry.object_reference,
        object_repr=entry.object_reference,
        patient_reference=entry.patient_reference,
        study_reference=entry.study_reference,
        outcome=entry.outcome,
        additional_data=check_details(entry.details) if entry.details else None,
        **columns_of(entry.context),
    )
