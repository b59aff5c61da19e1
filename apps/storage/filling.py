"""Telling people ahead that a clinic's plan or a place will be full."""

from __future__ import annotations

from datetime import date

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.formats import date_format

from apps.accounts.models import Membership
from apps.accounts.roles import Role
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.notices.services import send_mail
from apps.storage.capacity import Forecast, clinics_forecast
from apps.storage.models import CapacityNotice


def tell_owners(today: date | None = None) -> int:
    """Tell the owners of clinics whose plan lasts for 30 days or less, and again for 7; return how many were told."""
    day = today or timezone.now().date()
    told = 0
    for clinic, forecast in clinics_forecast(day):
        warn_days = forecast.warn_days(day)
        known = CapacityNotice.objects.filter(clinic=clinic).first()
        if warn_days is None:
            if known:
                known.delete()
        elif known is None or warn_days < known.warn_days:
            with transaction.atomic():
                CapacityNotice.objects.update_or_create(
                    clinic=clinic, defaults={"warn_days": warn_days, "told_at": timezone.now()}
                )
                _tell(clinic, forecast)
            told += 1
    return told


def _tell(clinic: Clinic, forecast: Forecast) -> None:
    with clinic_scope(clinic), translation.override(clinic.locale):
        owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True)
        context = {
            "clinic": clinic.name,
            "used_bytes": forecast.used_bytes,
            "room_bytes": forecast.room_bytes,
            "date": date_format(forecast.full_date) if forecast.full_date else "",
            "url": f"{settings.BASE_URL}{reverse('worklist', args=[clinic.slug])}",
        }
        for address in owners.values_list("user__email", flat=True):
            send_mail(address, "plan_fills", context)
