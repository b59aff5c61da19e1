"""What people do with their accounts, written into the trails of their clinics."""

from __future__ import annotations

from typing import Any

from apps.accounts.models import Membership, User
from apps.audit.services import Context, Entry, Outcome, record_many


def record_for_person(
    verb: str, user: User, *, context: Context, outcome: str = Outcome.SUCCESS, details: dict[str, Any] | None = None
) -> None:
    """Record something about a person in every clinic they belong to, else in the installation's trail.

    Raises AuditUnavailableError.
    """
    clinic_ids: list[int | None] = [*Membership.objects.filter(user_id=user.pk).values_list("clinic_id", flat=True)]
    record_many(
        Entry(
            verb=verb,
            context=context,
            clinic_id=clinic_id,
            object_kind="user",
            object_reference=user.public_id,
            outcome=outcome,
            details=details,
        )
        for clinic_id in clinic_ids or [None]
    )
