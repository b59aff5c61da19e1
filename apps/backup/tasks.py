"""The drill of every night, a look at copies and drills each minute, and a report each month."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from apps.backup import alarms
from apps.backup.drilling import run_drill
from apps.backup.mailing import mail_reports
from apps.backup.models import Drill
from apps.clinics.models import Clinic
from apps.jobs.models import Job
from apps.jobs.services import enqueue, periodic, register

KIND: Final = "backup.drill"
AGAIN: Final = timedelta(hours=20)
"""Not twice in one night; one that failed is tried again the next."""


@periodic("backup.watch", every_seconds=60)
def watch() -> None:
    """Raise and clear alarms."""
    alarms.watch()


@periodic("backup.plan-drills", every_seconds=300)
def plan_drills() -> None:
    """Queue the drills that are due."""
    for place in due_drills(timezone.now()):
        if not Job.objects.filter(kind=KIND, state__in=[Job.State.QUEUED, Job.State.RUNNING]).exists():
            enqueue(KIND, {"place": place})


def due_drills(now: datetime) -> list[str]:
    """Return the places whose drill is due: it is night, or the last one is more than a day ago."""
    if not settings.REPLICAS or not Clinic.objects.exists():
        return []
    hours = (timezone.localtime(now).hour - settings.DRILL_HOUR) % 24
    return [
        place
        for place in settings.REPLICAS
        if not Drill.objects.filter(
            place=place, started_at__gt=now - (AGAIN if hours < 3 else alarms.LATE_DRILL - timedelta(hours=1))
        ).exists()
    ]


@periodic("backup.mail-reports", every_seconds=3600)
def mail_last_month() -> None:
    """Send the owners the report of the month that ended."""
    mail_reports()


@register(KIND, is_long=True)
def drill(job: Job) -> None:
    """Run one drill; what it found is in its row, and told at once."""
    run_drill(str(job.payload["place"]))
    alarms.watch()
