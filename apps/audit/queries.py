"""What the audit page and its export show of one clinic's trail."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.words import GROUPS


def search_events(clinic_id: int, filters: dict[str, Any]) -> QuerySet[AuditEvent]:
    """Return the clinic's events that pass all filters (cleaned data of FilterForm), newest first.

    Days are whole days in the current time zone.
    """
    events = AuditEvent.objects.filter(clinic_id=clinic_id)
    if since := filters.get("since"):
        events = events.filter(timestamp__gte=_start_of(since))
    if until := filters.get("until"):
        events = events.filter(timestamp__lt=_start_of(until + timedelta(days=1)))
    if kind := filters.get("kind"):
        events = events.filter(GROUPS[kind].condition)
    if person := (filters.get("person") or "").strip():
        events = events.filter(Q(actor_email__icontains=person) | Q(actor_reference=person))
    if study := filters.get("study"):
        events = events.filter(study_reference=study)
    if link := filters.get("link"):
        events = events.filter(
            Q(object_kind="link", object_reference=link) | Q(actor_kind="link", actor_reference=link)
        )
    return events.order_by("-pk")


def page_of(events: QuerySet[AuditEvent], *, clinic_id: int, before: str, size: int) -> tuple[list[AuditEvent], str]:
    """Return one page of events and the public id to go on from, empty on the last page.

    Pages are counted from an event, not from an offset: they stay put while events arrive, and page 1,000 is as fast
    as the first. An unknown `before` gives the first page.
    """
    if before:
        mark = AuditEvent.objects.filter(clinic_id=clinic_id, public_id=before).values_list("pk", flat=True).first()
        if mark is not None:
            events = events.filter(pk__lt=mark)
    found = list(events[: size + 1])
    return found[:size], found[size - 1].public_id if len(found) > size else ""


def _start_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
