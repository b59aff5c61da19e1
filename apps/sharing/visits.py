"""Who opened a link, when, from where, and what they looked at: the trail's records, told as visits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from apps.accounts.models import browser_of
from apps.audit.models import AuditEvent
from apps.sharing.models import ShareLink, Visit
from apps.studies.models import Series, Study

# What the viewer asks for on its own, and a patient looking at this very page, says nothing; the audit page has it.
_UNSAID = (
    "export.listed",
    "link.opened",
    "link.prepared",
    "link.viewed",
    "receipt.issued",
    "study.listed",
    "study.searched",
)
_LINES = 60


@dataclass
class Line:
    """One thing that was looked at or taken away in a visit; `count` records of it, the first at `at`."""

    at: datetime
    words: str
    what: str
    event_reference: str
    count: int = 1


@dataclass
class VisitSummary:
    """One opening of a link: who said to be there, from where, and what was looked at."""

    link_reference: str
    opened_at: datetime
    last_at: datetime
    remote_addr: str
    browser: str
    event_reference: str
    recipient: str = ""
    purpose: str = ""
    passed_on_to: str = ""
    lines: list[Line] = field(default_factory=list)


def visits_of(shares: Sequence[ShareLink], page: str | None, size: int) -> Page[VisitSummary]:
    """Return one page of the visits to these links, newest first."""
    named = {share.link.public_id: share for share in shares}
    openings = _events(shares).filter(verb="link.opened", outcome="success").order_by("-timestamp", "-pk")
    found: Page[AuditEvent] = Paginator(openings, size).get_page(page)
    sessions = [event.session_hash for event in found]
    said = {visit.session_hash: visit for visit in Visit.objects.filter(session_hash__in=sessions)}
    acts: dict[str, list[AuditEvent]] = defaultdict(list)
    later = _events(shares).filter(session_hash__in=sessions).exclude(verb__in=_UNSAID)
    for event in later.order_by("timestamp", "pk"):
        acts[event.session_hash].append(event)
    labels = _labels([event for events in acts.values() for event in events])
    summaries = []
    for event in found:
        share = named[event.actor_reference]
        visit = said.get(event.session_hash)
        seen = acts[event.session_hash]
        summaries.append(
            VisitSummary(
                link_reference=event.actor_reference,
                opened_at=event.timestamp,
                last_at=seen[-1].timestamp if seen else event.timestamp,
                remote_addr=event.remote_addr or "",
                browser=browser_of(event.user_agent),
                event_reference=event.public_id,
                recipient=visit.recipient if visit else "",
                purpose=visit.purpose if visit else "",
                passed_on_to=share.recipient if share.link.parent_id else "",
                lines=_lines(seen, labels),
            )
        )
    found.object_list = summaries  # type: ignore[assignment]
    return found  # type: ignore[return-value]


def refusals_of(shares: Sequence[ShareLink], *, limit: int = 50) -> list[AuditEvent]:
    """Return the newest attempts at these links that were refused before anything opened."""
    refused = _events(shares).filter(session_hash="", outcome="denied")
    return list(refused.order_by("-timestamp", "-pk")[:limit])


def _events(shares: Sequence[ShareLink]) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(
        clinic_id__in={share.clinic_id for share in shares},
        actor_kind="link",
        actor_reference__in=[share.link.public_id for share in shares],
    )


def _lines(events: Sequence[AuditEvent], labels: dict[str, str]) -> list[Line]:
    lines: dict[tuple[str, str, str], Line] = {}
    for event in events:
        key = (event.verb, event.object_reference, event.outcome)
        if key in lines:
            lines[key].count += 1
            continue
        words = event.verb_words if event.outcome == "success" else f"{event.verb_words}: {event.get_outcome_display()}"
        what = labels.get(event.object_reference) or labels.get(event.study_reference, "")
        lines[key] = Line(event.timestamp, words, what, event.public_id)
    return list(lines.values())[:_LINES]


def _labels(events: Sequence[AuditEvent]) -> dict[str, str]:
    """Return what the studies and series of these events are called, by public id."""
    studies = Study.objects.filter(public_id__in={event.study_reference for event in events if event.study_reference})
    series = Series.objects.filter(public_id__in={e.object_reference for e in events if e.object_kind == "series"})
    labels = {study.public_id: study.study_description or study.modalities_in_study for study in studies}
    return labels | {
        one.public_id: " ".join(part for part in (one.modality, one.series_description or one.readable_class) if part)
        for one in series
    }
