"""The backups of a clinic: the last proven restores, and the report of a month."""

from __future__ import annotations

from datetime import date

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.backup.models import Alarm, DatabaseCopy
from apps.backup.proven import last_proven, month_of, months_with_drills, recent
from apps.backup.report import report_name, report_pdf
from apps.clinics.models import Clinic


@require_safe
def backups(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show what was proven, what is wrong now, and the months there are reports of."""
    clinic: Clinic = request.clinic  # type: ignore[attr-defined]
    context = {
        "proof": last_proven(clinic),
        "proofs": recent(clinic),
        "alarms": Alarm.objects.filter(cleared_at=None).order_by("raised_at"),
        "copies": DatabaseCopy.objects.order_by("place"),
        "months": months_with_drills(),
        "has_replicas": bool(settings.REPLICAS),
        "days": settings.BACKUP_DAYS,
    }
    return render(request, "backup/backups.html", context)


@require_safe
def report(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Send the report of `?month=2026-11` (this one by default) as a PDF."""
    clinic: Clinic = request.clinic  # type: ignore[attr-defined]
    today = timezone.localdate()
    asked = request.GET.get("month", f"{today:%Y-%m}")
    try:
        first = date.fromisoformat(f"{asked}-01")
    except ValueError:
        raise Http404 from None
    if first > today:
        raise Http404
    details = {"from_date": first.isoformat()}
    authorise(request, Capability.CLINIC_MANAGE, None, verb="backup.reported", details=details)
    answer = HttpResponse(report_pdf(month_of(clinic, first)), content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="{report_name(clinic, first)}"'
    answer["Cache-Control"] = "no-store"
    return answer
