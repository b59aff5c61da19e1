"""Look again: search the images of a copy for what the originals say, as often as anybody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.utils import timezone

from apps.clinics.scoping import clinic_scope
from apps.deidentification.models import Copy, CopyItem, Report
from apps.dicom.deidentify.verify import Known
from apps.dicom.limited import deidentifying
from apps.jobs.services import enqueue
from apps.storage.services import open_blob
from apps.studies.models import Instance

CHECK_JOB: Final = "deidentification.check"


def request_check(report: Report) -> None:
    """Queue the search for a report."""
    enqueue(CHECK_JOB, {"report": report.pk}, clinic=report.clinic)


def check(report: Report) -> Callable[[], None] | None:
    """Search the copied study outside any transaction; return what writes the outcome down."""
    copy = report.copy
    if copy is None or copy.state != Copy.State.READY:
        return None
    done = CopyItem.objects.filter(copy=copy, state=CopyItem.State.DONE, instance__series__study=report.study)
    originals = Instance.objects.filter(pk__in=done.values("instance_id")).select_related("blob")
    known = Known()
    for instance in originals:
        with open_blob(instance.blob) as file:
            known.join(deidentifying.harvest(file, copy.preset))
    found = 0
    with clinic_scope(report.clinic, edition=copy.public_id):
        copied = Instance.objects.filter(series__study__source_reference=report.study.trail_reference)
        for instance in copied.select_related("blob"):
            with open_blob(instance.blob) as file:
                found += deidentifying.count_residue(file, known)

    def write_down() -> None:
        Report.objects.filter(pk=report.pk).update(verified_at=timezone.now(), residue_count=found)

    return write_down
