"""Taking a link back, closing it for a while, giving it another end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.access.services import ObjectReference
from apps.audit.services import Context, Entry, record_many
from apps.billing.services import Limit, reserve
from apps.links.errors import LinkRefusedError
from apps.links.holding import live_links, record_of
from apps.links.making import MAX_LIFETIME
from apps.links.models import Link


def revoke(link: Link, *, context: Context, covers: Iterable[ObjectReference] = ()) -> None:
    """Take a link back, and with it those passed on from it; the next request of anyone who opened it is refused.

    A second time changes nothing.
    """
    with transaction.atomic():
        if not Link.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=timezone.now()):
            return
        for covered in covers or [link.audit_reference()]:
            record_of(link, "link.revoked", context, covers=covered)
        for child in Link.objects.filter(parent_id=link.pk, revoked_at=None):
            revoke(child, context=context, covers=covers)


def revoke_many(links: QuerySet[Link], *, context: Context) -> int:
    """Take all of these links back at once, and return how many that were; each is recorded."""
    with transaction.atomic():
        rows = list(links.filter(revoked_at=None).select_for_update(of=("self",)).order_by("pk"))
        if rows:
            record_many(
                Entry("link.revoked", context, row.clinic_id, "link", row.public_id, details={"source": "many"})
                for row in rows
            )
        Link.objects.filter(pk__in=[row.pk for row in rows]).update(revoked_at=timezone.now())
        passed_on = Link.objects.filter(parent__in=[row.pk for row in rows], revoked_at=None)
        return len(rows) + (revoke_many(passed_on, context=context) if rows else 0)


def pause(link: Link, *, context: Context) -> None:
    """Close a link until `resume`; whoever has it open sees nothing more meanwhile."""
    with transaction.atomic():
        if Link.objects.filter(pk=link.pk, paused_at=None).update(paused_at=timezone.now()):
            record_of(link, "link.paused", context)


def resume(link: Link, *, context: Context) -> None:
    """Open a paused link again. Raises billing's LimitReachedError when the plan allows no further live link."""
    with transaction.atomic():
        reserve(link.clinic, Limit.LINKS, 1, used=lambda: live_links(link.clinic).count())
        if Link.objects.filter(pk=link.pk).exclude(paused_at=None).update(paused_at=None):
            record_of(link, "link.resumed", context)


def extend(link: Link, lifetime: timedelta, *, context: Context) -> None:
    """Let a link end `lifetime` from now, within 90 days and within what it was passed on from.

    Raises LinkRefusedError, and billing's LimitReachedError when that makes one link more than the plan allows.
    """
    now = timezone.now()
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise LinkRefusedError(_("A link lives at most %(days)d days.") % {"days": MAX_LIFETIME.days})
    expires_at = now + lifetime
    if link.parent is not None and expires_at > link.parent.expires_at:
        raise LinkRefusedError(_("A link that is passed on ends with the one it comes from, or earlier."))
    if link.starts_at is not None and expires_at <= link.starts_at:
        raise LinkRefusedError(_("The link would end before it begins."))
    with transaction.atomic():
        if link.expires_at <= now:
            reserve(link.clinic, Limit.LINKS, 1, used=lambda: live_links(link.clinic).count())
        if not Link.objects.filter(pk=link.pk, revoked_at=None).update(expires_at=expires_at, reminded_at=None):
            raise LinkRefusedError(_("This link was revoked; make a new one."))
        record_of(link, "link.extended", context, details={"expires_at": expires_at.isoformat()})
