"""What the pages of the way in ask for: one's own uploads, how far one is, what became of its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from django.db.models import Count, Q, QuerySet

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.ingest.models import Upload, UploadBatch
from apps.studies.models import Study

State = Upload.State

RESULTS_AT_ONCE: Final = 2000

# How a page groups the outcomes; an opened archive is no outcome, its members are.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "stored": (State.STORED,),
    "duplicate": (State.DUPLICATE,),
    "problem": (State.REJECTED, State.CONFLICT),
    "ignored": (State.IGNORED,),
    "open": (State.RECEIVED,),
}


@dataclass(frozen=True)
class Progress:
    """How many files of a batch stand where."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All files but opened archives."""
        return sum(self.counts.get(name, 0) for name in GROUPS)

    @property
    def waiting(self) -> int:
        """Files that are still to be looked at."""
        return self.counts.get("open", 0)

    @property
    def finished(self) -> int:
        """Files with an outcome."""
        return self.total - self.waiting

    @property
    def is_done(self) -> bool:
        """Whether every file that arrived has an outcome."""
        return self.waiting == 0

    def count(self, group: str) -> int:
        """Files of one group."""
        return self.counts.get(group, 0)


def visible_batches(principal: Principal) -> QuerySet[UploadBatch]:
    """Return the batches that a principal may look at: their own; all of them for whoever runs the clinic."""
    if Capability.CLINIC_MANAGE in principal.capabilities:
        return UploadBatch.objects.all()
    return own_batches(principal)


def own_batches(principal: Principal) -> QuerySet[UploadBatch]:
    """Return the batches that this principal opened."""
    context = principal.context
    return UploadBatch.objects.filter(actor_kind=context.actor_kind, actor_reference=context.actor_reference)


def recent_batches(batches: QuerySet[UploadBatch]) -> QuerySet[UploadBatch]:
    """Return batches that brought something, newest first, each with its counts as attributes `files_<group>`."""
    annotations = {
        f"files_{name}": Count("uploads", filter=Q(uploads__state__in=states)) for name, states in GROUPS.items()
    }
    counted = batches.annotate(files_all=Count("uploads", filter=~Q(uploads__state=State.EXPANDED)), **annotations)
    return counted.filter(files_all__gt=0).order_by("-created_at")


def progress(batch: UploadBatch) -> Progress:
    """Count the files of a batch by group, in one query."""
    by_state = dict(Upload.objects.filter(batch=batch).values_list("state").annotate(Count("pk")).order_by())
    return Progress({name: sum(by_state.get(state, 0) for state in states) for name, states in GROUPS.items()})


def uploads_of(batch: UploadBatch, group: str = "") -> QuerySet[Upload]:
    """Return the uploads of a batch as a page lists them, in the order of their arrival."""
    rows = Upload.objects.filter(batch=batch).exclude(state=State.EXPANDED).select_related("study", "archive")
    if group in GROUPS:
        rows = rows.filter(state__in=GROUPS[group])
    return rows.order_by("pk")


def results_after(batch: UploadBatch, cursor: str) -> tuple[list[Upload], str, bool]:
    """Return the uploads behind `cursor` that have an outcome, the cursor for the next question, and if that is all.

    One query. The cursor is the public id of the last upload before the first unfinished one: nothing is skipped, and
    only what was finished out of order is told twice.
    """
    rows = Upload.objects.filter(batch=batch).select_related("study", "archive").order_by("pk")
    if cursor:
        rows = rows.filter(pk__gt=Upload.objects.filter(batch=batch, public_id=cursor).values("pk")[:1])
    window = list(rows[:RESULTS_AT_ONCE])
    for upload in window:
        if upload.state == State.RECEIVED:
            break
        cursor = upload.public_id
    finished = [upload for upload in window if upload.state != State.RECEIVED]
    return finished, cursor, len(finished) == len(window) < RESULTS_AT_ONCE


def batches_of_study(study: Study) -> QuerySet[UploadBatch]:
    """Return the batches that brought something to a study, newest first, each with `files_here`."""
    here = Q(uploads__study=study, uploads__state=State.STORED)
    counted = UploadBatch.objects.annotate(files_here=Count("uploads", filter=here)).filter(files_here__gt=0)
    return counted.select_related("created_by").order_by("-created_at")
