"""The base of every Celery task that works for one clinic."""

from __future__ import annotations

from typing import Any

import celery

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope


class ClinicTask(celery.Task):  # type: ignore[type-arg]  # generic in the stubs only
    """Opens the scope of the clinic named by the keyword `clinic_id` around the task's body."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body inside the clinic's scope; without `clinic_id` every clinic-owned query raises ScopeError."""
        clinic_id = kwargs.get("clinic_id")
        if clinic_id is None:
            return super().__call__(*args, **kwargs)
        with clinic_scope(Clinic.objects.get(pk=clinic_id)):
            return super().__call__(*args, **kwargs)
