"""What the pages of the way in ask for: one's own uploads, how far one is, what became of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import CharField, Count, Max, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.ingest.models import Transfer, Upload, UploadBatch
from apps.studies.models import Study

State = Upload.State

RESULTS_AT_ONCE: Final = 2000

# How a page groups the outcomes; an opened archive is no outcome, its members are.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "stored": (State.STORED,),
    "duplicate": (State.DUPLICATE,),
    "problem": (State.REJECTED, State.CONFLICT),
    "ignored": (State.IGNORED,),
    "inbox": (State.WAITING,),
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


def with_counts(batches: QuerySet[UploadBatch]) -> QuerySet[Any]:
    """Return batches with the number of their uploads that have an outcome and that have none yet, in one query."""
    is_open = Q(uploads__state=State.RECEIVED)
    return batches.annotate(
        open_count=Count("uploads", filter=is_open), finished_count=Count("uploads", filter=~is_open)
    )


def finished_since(batch: UploadBatch, at: datetime | None, public_id: str) -> list[Upload]:
    """Return up to RESULTS_AT_ONCE uploads that got their outcome after this one did, in the order in which they did.

    What was written down first may be committed last: who counts fewer outcomes than there are asks from the beginning.
    """
    rows = Upload.objects.filter(batch=batch).exclude(state=State.RECEIVED).select_related("study", "archive")
    if at is not None:
        last = Upload.objects.filter(batch=batch, public_id=public_id).values("pk")[:1]
        rows = rows.filter(Q(finished_at__gt=at) | Q(finished_at=at, pk__gt=last))
    return list(rows.order_by("finished_at", "pk")[:RESULTS_AT_ONCE])


def brought_instances(principal: Principal, uids: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return how often this principal's own uploads brought each of these instances, by (UID, bytes of the file).

    What was refused was not brought, and what was erased since is not there any more.
    """
    rows = Upload.objects.filter(batch__in=own_batches(principal), sop_instance_uid__in=uids)
    kept = rows.filter(Q(instance__isnull=False) | Q(state__in=(State.RECEIVED, State.WAITING))).exclude(
        state__in=(State.REJECTED, State.IGNORED)
    )
    counted = kept.values_list("sop_instance_uid", "size_bytes").annotate(count=Count("pk")).order_by()
    return {(uid, size_bytes): count for uid, size_bytes, count in counted}


def own_transfers(principal: Principal) -> QuerySet[Transfer]:
    """Return the large files that this principal sends or has sent in pieces."""
    return Transfer.objects.filter(batch__in=own_batches(principal))


def own_transfer(principal: Principal, fingerprint: str, size_bytes: int) -> Transfer | None:
    """Return this principal's transfer of the file with this fingerprint: a finished one, else the furthest."""
    same = own_transfers(principal).filter(fingerprint=fingerprint, length_bytes=size_bytes)
    refused = (State.REJECTED, State.IGNORED)
    done = same.filter(upload__isnull=False).exclude(upload__state__in=refused).first()
    unfinished = same.filter(upload=None, expires_at__gt=timezone.now())
    return done or unfinished.order_by("-offset_bytes").first()


def batches_of_study(study: Study) -> QuerySet[UploadBatch]:
    """Return the batches that brought something to a study, newest first, each with `files_here`.

    What came by an upload request has `assigned_by`, the name of who said whose it is.
    """
    here = Q(uploads__study=study, uploads__state=State.STORED)
    person = "uploads__arrival__settled_by"
    counted = UploadBatch.objects.annotate(
        files_here=Count("uploads", filter=here),
        assigned_by=Max(
            Coalesce(NullIf(f"{person}__name", Value("")), f"{person}__email", output_field=CharField()), filter=here
        ),
    ).filter(files_here__gt=0)
    return counted.select_related("created_by", "request").order_by("-created_at")
