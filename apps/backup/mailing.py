"""The monthly report of the backups, sent once to the owners of each clinic when the month is over."""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.formats import date_format

from apps.audit.services import Context, record
from apps.backup.models import MailedReport
from apps.backup.proven import month_of
from apps.backup.report import report_name, report_pdf
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.notices.services import Attachment, send_mail


def mail_reports(now: datetime | None = None) -> int:
    """Send last month's report to the owners of the clinics that have not got it; return of how many clinics.

    Without a further place there are no backups to report on, and nothing is sent.
    """
    if not settings.REPLICAS:
        return 0
    count = 0
    for clinic in Clinic.objects.filter(suspended_at=None).order_by("pk"):
        with (
            clinic_scope(clinic),
            translation.override(clinic.locale),
            timezone.override(zoneinfo.ZoneInfo(clinic.time_zone)),
        ):
            today = timezone.localdate(now)
            first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
            # A clinic that was not there then has no such month.
            if timezone.localdate(clinic.created_at) < today.replace(day=1):
                count += _mail_report(clinic, first)
    return count


def _mail_report(clinic: Clinic, first: date) -> bool:
    if MailedReport.objects.filter(clinic=clinic, month=first).exists():
        return False
    month = month_of(clinic, first)
    if not month.owners:
        return False
    report = Attachment(report_name(clinic, first), "application/pdf", report_pdf(month))
    context = {
        "clinic": clinic.name,
        "month": date_format(first, "F Y"),
        "passed_count": sum(proof.has_passed for proof in month.proofs),
        "drill_count": len(month.proofs),
        "alarm_count": len(month.alarms),
        "url": f"{settings.BASE_URL}{reverse('backups', args=[clinic.slug])}",
    }
    try:
        with transaction.atomic():
            # The row first: whoever is second does not send.
            MailedReport.objects.create(clinic=clinic, month=first)
            details = {"from_date": first.isoformat(), "recipient_count": len(month.owners)}
            record("backup.reported", context=Context.system("backup"), clinic_id=clinic.pk, details=details)
            for owner in month.owners:
                send_mail(owner.email, "backup_report", context, [report])
    except IntegrityError:
        return False
    return True
