"""Which links hold at this moment, and how the trail names them."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from apps.access.services import ObjectReference
from apps.accounts.models import User
from apps.audit.services import Context, Outcome, record
from apps.clinics.models import Clinic
from apps.links.models import Link, LinkState


def live_links(clinic: Clinic) -> QuerySet[Link]:
    """Return the clinic's links that can be opened now; these count against its plan."""
    return Link.objects.filter(is_live(timezone.now()), clinic=clinic)


def with_its_people() -> QuerySet[Link]:
    """Return links with whom `why_dead` asks about."""
    return Link.objects.select_related("clinic", "created_by", "parent__created_by")


def is_live(now: datetime) -> Q:
    """Return the condition under which a link opens."""
    # No join: an UPDATE with one puts all conditions into a subquery, which PostgreSQL does not look at again after it
    # waited for the row, and parallel opens would pass the limit.
    holds = (
        Q(revoked_at=None, frozen_at=None, paused_at=None, expires_at__gt=now)
        & (Q(starts_at=None) | Q(starts_at__lte=now))
        & (Q(created_by=None) | Q(created_by__in=User.objects.filter(is_active=True)))
    )
    return (
        holds
        & Q(clinic__in=Clinic.objects.filter(suspended_at=None))
        & (Q(parent=None) | Q(parent__in=Link.objects.filter(holds)))
        & (Q(max_views=None) | Q(view_count__lt=F("max_views")))
    )


def why_dead(link: Link, now: datetime | None = None) -> str:
    """Return why a link opens nothing, "" for one that does; its clinic, maker and parent are loaded."""
    if link.clinic.is_suspended:
        return "suspended"
    # SHARE-16: nobody who has left speaks for the clinic any more.
    if any(
        one is not None and one.created_by is not None and not one.created_by.is_active for one in (link, link.parent)
    ):
        return "maker-left"
    state = link.state(now)
    return "" if state is LinkState.LIVE else str(state.value)


def record_of(
    link: Link,
    verb: str,
    context: Context,
    *,
    covers: ObjectReference | None = None,
    outcome: str = Outcome.SUCCESS,
    details: dict[str, object] | None = None,
) -> None:
    """Write down what happened to a link, and which object it was about."""
    record(
        verb,
        context=context,
        clinic_id=link.clinic_id,
        object_kind="link",
        object_reference=link.public_id,
        patient_reference=covers.patient_reference if covers else "",
        study_reference=covers.study_reference if covers else "",
        outcome=outcome,
        details=details,
    )
