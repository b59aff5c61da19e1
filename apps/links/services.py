"""The door of the links room: make a link, open it, ask on every request whether it still holds, take it back.

A link moves through three secrets: the token in its URL (shown once, 256 bits, kept as SHA-256), an optional PIN
(sent another way, kept as a slow hash), and, once opened, a cookie of its own whose secret is kept as SHA-256 too.
Nothing is cached: each request reads the rows, so that taking a link back works on the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.access.services import ObjectReference
from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.audit.services import Context, Outcome, record
from apps.billing.services import Limit, reserve
from apps.clinics.models import Clinic
from apps.links.errors import LinkRefusedError, LinkUnavailableError, TooManyAttemptsError, WrongPinError
from apps.links.models import Link, LinkAttempt, LinkSession, LinkState
from apps.links.tokens import hash_pin, hash_token, is_pin, make_pin, make_token
from apps.notices.services import send_mail

DEFAULT_LIFETIME: Final = timedelta(days=7)
MAX_LIFETIME: Final = timedelta(days=90)
MAX_VIEW_LIMIT: Final = 1000

SESSION_IDLE: Final = timedelta(minutes=30)
SESSION_LIFETIME: Final = timedelta(hours=8)
# How exactly idleness is known: a session that shows hundreds of frames a second is not written for each.
ACTIVITY_STEP: Final = timedelta(minutes=1)

ATTEMPT_WINDOW: Final = timedelta(minutes=15)
MAX_ATTEMPTS_BY_ADDRESS: Final = 5
MAX_ATTEMPTS: Final = 20
# Beyond this many dead tokens from one address in the window, nothing more is written down about it.
MAX_REFUSALS_BY_ADDRESS: Final = 30


@dataclass(frozen=True)
class NewLink:
    """A link just made, with the secrets that are shown this once: the token, and the PIN ("" without)."""

    link: Link
    token: str
    pin: str


@dataclass(frozen=True)
class OpenedLink:
    """A link just opened, with the secret for the browser's cookie."""

    link: Link
    secret: str


def live_links(clinic: Clinic) -> QuerySet[Link]:
    """Return the clinic's links that can be opened now; these count against its plan."""
    return Link.objects.filter(_live(timezone.now()), clinic=clinic)


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
) -> NewLink:
    """Make a link and record it once for each object it covers; the only place where link rows come from.

    All or nothing, in the caller's transaction too. Raises LinkRefusedError for a lifetime not within 90 days or a
    senseless view limit, billing's LimitReachedError when the plan allows no further link, and AuditUnavailableError.
    """
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise LinkRefusedError(_("A link lives at most %(days)d days.") % {"days": MAX_LIFETIME.days})
    if max_views is not None and not 0 < max_views <= MAX_VIEW_LIMIT:
        raise LinkRefusedError(_("The number of views must lie between 1 and %(most)d.") % {"most": MAX_VIEW_LIMIT})
    token = make_token()
    pin = make_pin() if has_pin else ""
    pin_hash = hash_pin(pin) if has_pin else ""  # slow on purpose, and therefore outside the lock
    with transaction.atomic():
        reserve(clinic, Limit.LINKS, 1, used=lambda: live_links(clinic).count())
        link = Link.objects.create(
            clinic=clinic,
            kind=kind,
            token_sha256=hash_token(token),
            expires_at=timezone.now() + lifetime,
            pin_hash=pin_hash,
            max_views=max_views,
            created_by=created_by,
        )
        details = {"expires_at": link.expires_at.isoformat(), "has_pin": has_pin, "source": kind}
        if max_views is not None:
            details["view_count"] = max_views
        for covered in covers:
            _record(link, "link.created", context, covers=covered, details=details)
    return NewLink(link, token, pin)


def find(token: str, kind: str, *, context: Context) -> Link:
    """Return the live link with this token without opening it.

    Raises LinkUnavailableError, always the same and after the same work, when there is none; the attempt is recorded.
    """
    link = Link.objects.select_related("clinic").filter(token_sha256=hash_token(token), kind=kind).first()
    reason = "unknown" if link is None else _why_dead(link)
    if link is None or reason:
        _refuse(link, reason, context)
        raise LinkUnavailableError
    return link


def redeem(token: str, pin: str, kind: str, *, context: Context) -> OpenedLink:
    """Open the link with this token for one browser: count one view and begin a session.

    Raises LinkUnavailableError (as `find`), WrongPinError, TooManyAttemptsError. Guesses are counted before they are
    looked at, so that guessing in parallel gains nothing: 5 for one address in 15 minutes, 20 in all, then the link
    is frozen and its maker told.
    """
    link = find(token, kind, context=context)
    attempt = _check_pin(link, pin, context) if link.pin_hash else None
    opened = replace_actor(context, link)
    secret = make_token()
    with transaction.atomic():
        now = timezone.now()
        # One statement decides who gets the last view (SHARE-07); a revocation that came first wins.
        counted = Link.objects.filter(_live(now), pk=link.pk).update(
            view_count=F("view_count") + 1, failed_attempts=F("failed_attempts") - (1 if attempt else 0)
        )
        if not counted:
            raise LinkUnavailableError
        if attempt is not None:
            attempt.delete()
        session = LinkSession.objects.create(
            link=link,
            secret_sha256=hash_token(secret),
            remote_addr=context.remote_addr,
            user_agent=context.user_agent[:300],
        )
        _record(link, "link.opened", replace(opened, session_hash=session_hash(session)))
    return OpenedLink(link, secret)


def resolve(link_reference: str, secret: str, kind: str) -> LinkSession:
    """Return the running session of the link with this public id for the secret in a cookie; `.link.clinic` is loaded.

    Raises LinkUnavailableError when the link was revoked, frozen or has expired, its clinic is closed, the session
    was idle for 30 minutes or is 8 hours old, or the secret belongs to none. Reads the database each time (SHARE-02,
    SHARE-03).
    """
    session = (
        LinkSession.objects.select_related("link__clinic")
        .filter(secret_sha256=hash_token(secret), link__public_id=link_reference, link__kind=kind)
        .first()
    )
    now = timezone.now()
    if session is None or _why_dead(session.link, now) not in ("", LinkState.EXHAUSTED):
        raise LinkUnavailableError
    if session.last_activity_at + SESSION_IDLE <= now or session.created_at + SESSION_LIFETIME <= now:
        raise LinkUnavailableError
    if session.last_activity_at + ACTIVITY_STEP <= now:
        LinkSession.objects.filter(pk=session.pk).update(last_activity_at=now)
    return session


def close(link_reference: str, secret: str, kind: str) -> None:
    """End the session that belongs to the secret in a cookie; the link itself stays as it is."""
    sessions = LinkSession.objects.filter(link__public_id=link_reference, link__kind=kind)
    sessions.filter(secret_sha256=hash_token(secret)).delete()


def revoke(link: Link, *, context: Context, covers: Iterable[ObjectReference] = ()) -> None:
    """Take a link back; the next request of anyone who opened it is refused. A second time changes nothing."""
    with transaction.atomic():
        if not Link.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=timezone.now()):
            return
        for covered in covers or [link.audit_reference()]:
            _record(link, "link.revoked", context, covers=covered)


def people_to_tell(link: Link) -> list[str]:
    """Return the e-mail addresses of who made the link and of the clinic's owners, each once."""
    owners = Membership.objects.filter(clinic_id=link.clinic_id, role=Role.OWNER, user__is_active=True)
    addresses = set(owners.values_list("user__email", flat=True))
    if link.created_by is not None and link.created_by.is_active:
        addresses.add(link.created_by.email)
    return sorted(addresses)


def page_url(link: Link) -> str:
    """Return where the clinic's people see this link; for mails, since there is no request to ask."""
    return str(settings.BASE_URL) + reverse("link-detail", args=[link.clinic.slug, link.public_id])


def delete_stale() -> int:
    """Delete sessions and attempts that no longer mean anything, and return how many rows went; links stay."""
    now = timezone.now()
    sessions, _rows = LinkSession.objects.filter(created_at__lt=now - 2 * SESSION_LIFETIME).delete()
    attempts, _rows = LinkAttempt.objects.filter(attempted_at__lt=now - 2 * ATTEMPT_WINDOW).delete()
    return sessions + attempts


def session_hash(session: LinkSession) -> str:
    """Return what names a session in the audit trail: a hash, never its secret."""
    return bytes(session.secret_sha256).hex()


def replace_actor(context: Context, link: Link) -> Context:
    """Return the same place and moment with the link as the one who acts, whoever else is signed in there."""
    return replace(
        context, actor_kind="link", actor_reference=link.public_id, user_id=None, user_email="", session_hash=""
    )


def _live(now: datetime) -> Q:
    # No join: an UPDATE with one puts all conditions into a subquery, which PostgreSQL does not look at again after it
    # waited for the row, and parallel opens would pass the limit.
    return (
        Q(revoked_at=None, frozen_at=None, expires_at__gt=now)
        & Q(clinic__in=Clinic.objects.filter(suspended_at=None))
        & (Q(max_views=None) | Q(view_count__lt=F("max_views")))
    )


def _why_dead(link: Link, now: datetime | None = None) -> str:
    if link.clinic.is_suspended:
        return "suspended"
    state = link.state(now)
    return "" if state is LinkState.LIVE else str(state.value)


def _record(
    link: Link,
    verb: str,
    context: Context,
    *,
    covers: ObjectReference | None = None,
    outcome: str = Outcome.SUCCESS,
    details: dict[str, object] | None = None,
) -> None:
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


def _refuse(link: Link | None, reason: str, context: Context) -> None:
    """Write down that somebody came with a token that opens nothing: the same work for an unknown and a dead one."""
    with transaction.atomic():
        recent = LinkAttempt.objects.filter(
            link=None, remote_addr=context.remote_addr, attempted_at__gt=timezone.now() - ATTEMPT_WINDOW
        ).count()
        if recent >= MAX_REFUSALS_BY_ADDRESS:
            return
        LinkAttempt.objects.create(remote_addr=context.remote_addr)
        is_last = recent + 1 == MAX_REFUSALS_BY_ADDRESS
        record(
            "link.refused",
            context=replace_actor(context, link) if link else context,
            clinic_id=link.clinic_id if link else None,
            object_kind="link",
            object_reference=link.public_id if link else "",
            outcome=Outcome.DENIED,
            details={"reason": reason} | ({"code": "too-many-tokens"} if is_last else {}),
        )


def _check_pin(link: Link, pin: str, context: Context) -> LinkAttempt:
    """Return the attempt that was counted for this right PIN, for the caller to take back."""
    actor = replace_actor(context, link)
    try:
        attempt = _count_attempt(link, context)
    except TooManyAttemptsError:
        _record(link, "link.refused", actor, outcome=Outcome.DENIED, details={"reason": "too-many-attempts"})
        raise
    if attempt is not None and is_pin(pin, link.pin_hash):
        return attempt
    _record(link, "link.refused", actor, outcome=Outcome.DENIED, details={"reason": "wrong-pin"})
    if _freeze_if_guessed_at(link, actor):
        raise LinkUnavailableError
    raise WrongPinError


def _count_attempt(link: Link, context: Context) -> LinkAttempt | None:
    """Count a guess before it is looked at; None when the link has had all it gets."""
    now = timezone.now()
    with transaction.atomic():
        locked = Link.objects.select_for_update().get(pk=link.pk)
        mine = LinkAttempt.objects.filter(
            link=locked, remote_addr=context.remote_addr, attempted_at__gt=now - ATTEMPT_WINDOW
        ).order_by("attempted_at")
        if mine.count() >= MAX_ATTEMPTS_BY_ADDRESS:
            oldest = mine.values_list("attempted_at", flat=True)[0]
            raise TooManyAttemptsError(int((oldest + ATTEMPT_WINDOW - now).total_seconds()) + 1)
        if locked.failed_attempts >= MAX_ATTEMPTS:
            return None
        locked.failed_attempts += 1
        locked.save(update_fields=["failed_attempts"])
        return LinkAttempt.objects.create(link=locked, remote_addr=context.remote_addr, attempted_at=now)


def _freeze_if_guessed_at(link: Link, actor: Context) -> bool:
    with transaction.atomic():
        frozen = Link.objects.filter(pk=link.pk, failed_attempts__gte=MAX_ATTEMPTS, frozen_at=None)
        if not frozen.update(frozen_at=timezone.now()):
            return False
        _record(link, "link.frozen", actor, details={"reason": "wrong-pin"})
        for address in people_to_tell(link):
            send_mail(address, "link_frozen", {"url": page_url(link)})
    return True
