"""Making a link: the only place where link rows come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.access.services import ObjectReference
from apps.accounts.models import User
from apps.audit.services import Context
from apps.billing.services import Limit, reserve
from apps.clinics.models import Clinic
from apps.links import factors
from apps.links.errors import LinkRefusedError
from apps.links.holding import live_links, record_of
from apps.links.models import MAX_ATTEMPTS, Link
from apps.links.tokens import hash_pin, hash_token, make_pin, make_token

DEFAULT_LIFETIME: Final = timedelta(days=7)
MAX_LIFETIME: Final = timedelta(days=90)
MAX_VIEW_LIMIT: Final = 1000


@dataclass(frozen=True)
class NewLink:
    """A link just made, with the secrets that are shown this once: the token, and the PIN ("" without)."""

    link: Link
    token: str
    pin: str


def create(
    clinic: Clinic,
    kind: str,
    *,
    created_by: User | None,
    context: Context,
    covers: Iterable[ObjectReference],
    lifetime: timedelta = DEFAULT_LIFETIME,
    has_pin: bool = False,
    max_views: int | None = None,
    birth_date: date | None = None,
    recipient_email: str = "",
    has_mail_code: bool = False,
    starts_at: datetime | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    parent: Link | None = None,
) -> NewLink:
    """Make a link and record it once for each object it covers; the only place where link rows come from.

    At most one of `has_pin`, `birth_date` and `has_mail_code` says what opens it besides the token. `lifetime` counts
    from `starts_at`, or from now. A link with a `parent` ends with it at the latest.

    All or nothing, in the caller's transaction too. Raises LinkRefusedError for a lifetime not within 90 days, a
    senseless limit or a missing address, billing's LimitReachedError when the plan allows no further link, and
    AuditUnavailableError.
    """
    begins_at = starts_at or timezone.now()
    _check_wishes(lifetime, max_views, max_attempts, begins_at)
    if has_mail_code and not recipient_email:
        raise LinkRefusedError(_("A one-time code needs the e-mail address it goes to."))
    if parent is not None and begins_at + lifetime > parent.expires_at:
        raise LinkRefusedError(_("A link that is passed on ends with the one it comes from, or earlier."))
    token = make_token()
    pin = make_pin() if has_pin else ""
    # Slow on purpose, and therefore outside the lock.
    pin_hash = hash_pin(pin) if has_pin else hash_pin(birth_date.isoformat()) if birth_date else ""
    factor = factors.named(has_pin=has_pin, has_birth_date=birth_date is not None, has_mail_code=has_mail_code)
    with transaction.atomic():
        reserve(clinic, Limit.LINKS, 1, used=lambda: live_links(clinic).count())
        link = Link.objects.create(
            clinic=clinic,
            kind=kind,
            token_sha256=hash_token(token),
            parent=parent,
            starts_at=starts_at,
            expires_at=begins_at + lifetime,
            factor=factor,
            pin_hash=pin_hash,
            recipient_email=recipient_email,
            max_attempts=max_attempts,
            max_views=max_views,
            created_by=created_by,
        )
        details = {"expires_at": link.expires_at.isoformat(), "has_pin": has_pin, "source": kind, "factor": factor}
        if max_views is not None:
            details["view_count"] = max_views
        if parent is not None:
            details["link_reference"] = parent.public_id
        for covered in covers:
            record_of(link, "link.created", context, covers=covered, details=details)
    return NewLink(link, token, pin)


def _check_wishes(lifetime: timedelta, max_views: int | None, max_attempts: int, begins_at: datetime) -> None:
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise LinkRefusedError(_("A link lives at most %(days)d days.") % {"days": MAX_LIFETIME.days})
    if begins_at > timezone.now() + MAX_LIFETIME:
        raise LinkRefusedError(_("A link begins at most %(days)d days from now.") % {"days": MAX_LIFETIME.days})
    if max_views is not None and not 0 < max_views <= MAX_VIEW_LIMIT:
        raise LinkRefusedError(_("The number of views must lie between 1 and %(most)d.") % {"most": MAX_VIEW_LIMIT})
    if not 0 < max_attempts <= MAX_ATTEMPTS:
        raise LinkRefusedError(_("Between 1 and %(most)d wrong answers freeze a link.") % {"most": MAX_ATTEMPTS})
