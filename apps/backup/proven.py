"""What a clinic is told of its backups: the last proven restore, every drill of a month, and what was wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.utils import timezone

from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.backup.models import Alarm, DatabaseCopy, Drill
from apps.clinics.models import Clinic
from apps.exports.services import fingerprint, is_signed
from apps.storage.models import Blob


@dataclass(frozen=True)
class Proof:
    """One finished drill as a clinic sees it: the studies are its own, findings are the installation's."""

    drill: Drill
    study_count: int
    until: datetime | None
    findings: list[str]
    is_signed: bool
    key_fingerprint: str

    @property
    def has_passed(self) -> bool:
        """Whether everything was as it should be."""
        return self.drill.state == Drill.State.PASSED


@dataclass(frozen=True)
class Month:
    """Everything that is known of one month."""

    clinic: Clinic
    first: date
    proofs: list[Proof]
    alarms: list[Alarm]
    owners: list[User]
    copies: list[DatabaseCopy]
    blob_count: int
    uncopied_count: int


def last_proven(clinic: Clinic) -> Proof | None:
    """Return the newest drill that passed, None if none ever did."""
    drill = Drill.objects.filter(state=Drill.State.PASSED).order_by("-finished_at").first()
    return proof_of(drill, clinic) if drill else None


def recent(clinic: Clinic, count: int = 31) -> list[Proof]:
    """Return the newest finished drills."""
    return [proof_of(drill, clinic) for drill in _finished().order_by("-finished_at")[:count]]


def proof_of(drill: Drill, clinic: Clinic) -> Proof:
    """Return a finished drill as the clinic sees it; its signature is checked anew."""
    content: dict[str, Any] = json.loads(drill.content)
    key, signature = bytes(drill.public_key or b""), bytes(drill.signature or b"")
    return Proof(
        drill,
        content.get("clinics", {}).get(clinic.public_id, 0),
        datetime.fromisoformat(content["until"]) if content.get("until") else None,
        [each["message"] for each in content["failures"]],
        is_signed(drill.content.encode(), key, signature),
        fingerprint(key),
    )


def month_of(clinic: Clinic, first: date) -> Month:
    """Return what is known of the month that begins with ``first``, in the open scope of the clinic."""
    begin = _midnight(first)
    end = _midnight(next_month(first))
    drills = _finished().filter(finished_at__gte=begin, finished_at__lt=end).order_by("finished_at")
    alarms = Alarm.objects.filter(raised_at__lt=end).exclude(cleared_at__lt=begin).order_by("raised_at")
    stored = Blob.objects.filter(clinic=clinic, state=Blob.State.STORED)
    owners = Membership.objects.filter(clinic=clinic, role=Role.OWNER, user__is_active=True).select_related("user")
    return Month(
        clinic,
        first,
        [proof_of(drill, clinic) for drill in drills],
        list(alarms),
        [membership.user for membership in owners.order_by("user__name")],
        list(DatabaseCopy.objects.order_by("place")),
        stored.count(),
        stored.filter(copied_at=None).count(),
    )


def months_with_drills() -> list[date]:
    """Return the first days of the months in which there was a drill, the newest first."""
    found = _finished().values_list("finished_at", flat=True).order_by("-finished_at")
    return list(dict.fromkeys(timezone.localtime(at).date().replace(day=1) for at in found if at))[:24]


def next_month(first: date) -> date:
    """Return the first day of the month after."""
    return (first + timedelta(days=32)).replace(day=1)


def _finished() -> Any:
    return Drill.objects.exclude(state=Drill.State.RUNNING)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
