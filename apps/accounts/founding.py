"""Found a clinic: its row, its keys and its plan, all or nothing."""

from __future__ import annotations

from django.db import transaction

from apps.audit.services import Context, acting
from apps.billing.services import subscribe_default
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.clinics.services import create_clinic
from apps.keys.services import create_clinic_key


def found_clinic(slug: str, name: str, *, context: Context, locale: str = "en", time_zone: str = "UTC") -> Clinic:
    """Return a new clinic with keys and the plan its language begins with; raises ValidationError for a bad slug."""
    # The changed models write their own entries; `acting` says whose they are.
    with transaction.atomic(), acting(context):
        clinic = create_clinic(slug, name, locale=locale, time_zone=time_zone)
        with clinic_scope(clinic):
            create_clinic_key(clinic)
            subscribe_default(clinic, locale)
    return clinic
