"""What the clinic's first page says of its backups."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from apps.backup.models import Alarm
from apps.backup.proven import last_proven


def proven(request: HttpRequest) -> dict[str, Any]:
    """Return `backup_state`, which asks the database only in a template that shows it."""
    clinic = getattr(request, "clinic", None)

    def state() -> dict[str, Any] | None:
        if clinic is None or not settings.REPLICAS:
            return None
        return {"proof": last_proven(clinic), "has_alarm": Alarm.objects.filter(cleared_at=None).exists()}

    return {"backup_state": state}
