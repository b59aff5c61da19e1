"""Prepare what is large in the background: one encrypted blob, with progress, for one person or link, for a day."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone, translation

from apps.access.services import Principal
from apps.accounts.models import User
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.errors import TooManyExportsError
from apps.exports.models import Export, Format
from apps.jobs.services import enqueue
from apps.notices.services import send_mail
from apps.storage.services import BlobWriter, adopt, destroy, iterate_blob
from apps.studies.models import Study

PREPARE: Final = "exports.prepare"
LIFETIME: Final = timedelta(hours=24)
# Preparing costs as much space as the studies have: so many at once for one person or link.
MAX_AT_ONCE: Final = 3
# How often progress is written down.
STEP_SECONDS: Final = 1.0

State = Export.State
_WORKING: Final = (State.WAITING, State.RUNNING)


def exports_of(principal: Principal) -> QuerySet[Export]:
    """Return what was prepared for this person or link, newest first; what was removed is told for a week."""
    rows = Export.objects.filter(
        actor_kind=principal.context.actor_kind,
        actor_reference=principal.context.actor_reference,
        created_at__gt=timezone.now() - timedelta(days=7),
    )
    return rows.select_related("blob", "clinic").prefetch_related("studies__patient").order_by("-created_at", "-pk")


def request_export(principal: Principal, studies: Sequence[Study], kind: Format) -> Export:
    """Have studies prepared in the background, in the caller's language. Raises TooManyExportsError.

    The caller has authorised and recorded it.
    """
    with transaction.atomic():
        working = exports_of(principal).filter(state__in=_WORKING)
        if working.count() >= MAX_AT_ONCE:
            raise TooManyExportsError
        export = Export.objects.create(
            clinic=principal.clinic,
            format=kind,
            actor_kind=principal.context.actor_kind,
            actor_reference=principal.context.actor_reference,
            language=translation.get_language() or settings.LANGUAGE_CODE,
            total_bytes=sum(study.size_bytes for study in studies),
            expires_at=timezone.now() + LIFETIME,
        )
        export.studies.set(studies)
        enqueue(PREPARE, {"export_id": export.pk}, clinic=principal.clinic)
    return export


def prepare(export: Export, lay_out: Callable[[Sequence[Study], Format], Iterator[bytes]]) -> Callable[[], None]:
    """Write the export's blob, and return what makes it available, to be run in one short transaction."""
    Export.objects.filter(pk=export.pk).update(state=State.RUNNING, done_bytes=0)
    with (
        clinic_scope(export.clinic, edition=export.edition),
        translation.override(export.language),
        BlobWriter(export.clinic, "export", quarantined=True) as writer,
    ):
        studies = list(export.studies.select_related("patient", "clinic").order_by("study_date", "pk"))
        noted = time.monotonic()
        for chunk in lay_out(studies, Format(export.format)):
            writer.write(chunk)
            if time.monotonic() - noted >= STEP_SECONDS:
                noted = time.monotonic()
                Export.objects.filter(pk=export.pk).update(done_bytes=writer.size_bytes)
        blob = writer.commit()

    def finish() -> None:
        adopt([blob])
        now = timezone.now()
        Export.objects.filter(pk=export.pk).update(
            state=State.READY,
            blob=blob,
            done_bytes=blob.size_bytes,
            total_bytes=blob.size_bytes,
            ready_at=now,
            expires_at=now + LIFETIME,
        )
        _tell(export)

    return finish


def fail(export: Export) -> None:
    """Note that an export was given up."""
    Export.objects.filter(pk=export.pk, state__in=_WORKING).update(state=State.FAILED)


def content_of(export: Export) -> Callable[[int, int], Iterator[bytes]]:
    """Return what gives any range of a ready export; the clinic's scope need not be open then."""
    blob, clinic = export.blob, export.clinic

    def chunks(start: int, stop: int) -> Iterator[bytes]:
        if blob is None:
            return iter(())
        with clinic_scope(clinic):
            return iterate_blob(blob, start, stop - start)

    return chunks


def remove_expired() -> int:
    """Destroy what was prepared and is over, and what was given up by its job; return how many that were."""
    removed = 0
    now = timezone.now()
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            over = Export.objects.filter(expires_at__lte=now).exclude(state=State.EXPIRED).select_related("blob")
            for export in over.order_by("pk")[:200]:
                with transaction.atomic():
                    if export.blob is not None:
                        destroy([export.blob])
                    Export.objects.filter(pk=export.pk).update(state=State.EXPIRED, blob=None)
                removed += 1
    return removed


def _tell(export: Export) -> None:
    """Tell a person that it is ready; who holds a link sees it on the page."""
    if export.actor_kind != "user":
        return
    person = User.objects.filter(public_id=export.actor_reference, is_active=True).first()
    if person is not None:
        url = str(settings.BASE_URL) + reverse("exports", args=[export.clinic.slug])
        send_mail(person.email, "export_ready", {"url": url})
