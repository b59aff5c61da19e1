"""Look again: search the images of a copy for what the originals say, as often as anybody asks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from django.utils import timezone

from apps.clinics.scoping import clinic_scope
from apps.deidentification.models import Copy, CopyItem, Report
from apps.dicom.deidentify import preset
from apps.dicom.deidentify.verify import known_of_files, scan_file
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
    known = known_of_files((_content(instance) for instance in originals), preset(copy.preset))
    found = 0
    with clinic_scope(report.clinic, edition=copy.public_id):
        copied = Instance.objects.filter(series__study__source_reference=report.study.trail_reference)
        for instance in copied.select_related("blob"):
            found += sum(1 for _ in scan_file(_content(instance), "", known))

    def write_down() -> None:
        Report.objects.filter(pk=report.pk).update(verified_at=timezone.now(), residue_count=found)

    return write_down


def _content(instance: Instance) -> bytes:
    with open_blob(instance.blob) as file:
        return io.BytesIO(file.read()).getvalue()
