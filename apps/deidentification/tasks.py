"""Making copies, and removing those that have ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.deidentification.checking import CHECK_JOB, check
from apps.deidentification.copying import end_copy, ended_copies, work_on
from apps.deidentification.models import Copy, Report
from apps.deidentification.reviewing import COPY_JOB
from apps.jobs.models import Job
from apps.jobs.services import periodic, register


@register(COPY_JOB)
def make_copy(job: Job) -> Callable[[], None] | None:
    """Make a part of an anonymised copy."""
    copy = Copy.objects.select_related("clinic").filter(pk=job.payload["copy"]).first()
    return work_on(copy, seconds=time.monotonic) if copy is not None else None


@register(CHECK_JOB)
def check_report(job: Job) -> Callable[[], None] | None:
    """Search the images of a report again."""
    report = Report.objects.select_related("copy", "study", "clinic").filter(pk=job.payload["report"]).first()
    return check(report) if report is not None else None


@periodic("deidentification.end_copies", every_seconds=60)
def end_copies() -> None:
    """Delete the copies of links that were revoked or have expired, and of downloads after a day."""
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            for copy in ended_copies(clinic):
                end_copy(copy)
