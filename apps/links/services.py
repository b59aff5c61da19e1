"""The door of the links room: make a link, open it, ask on every request whether it still holds, take it back.

A link moves through three secrets: the token in its URL (shown once, 256 bits, kept as SHA-256), an optional factor
(PIN, date of birth or one-time code: apps.links.factors), and, once opened, a cookie of its own whose secret is kept as
SHA-256 too. Nothing is cached: each request reads the rows, so that taking a link back works on the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
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
from apps.audit.services import Context, Entry, Outcome, record, record_many
from apps.billing.services import Limit, reserve
from apps.clinics.models import Clinic
from apps.clinics.services import Asked, PreparedQuery
from apps.links import factors
from apps.links.errors import LinkRefusedError, LinkUnavailableError, WrongPinError
from apps.links.factors import ATTEMPT_WINDOW, MAX_ATTEMPTS_BY_ADDRESS
from apps.links.models import MAX_ATTEMPTS, Factor, Link, LinkAttempt, LinkCode, LinkSession, LinkState
from apps.links.tokens import hash_pin, hash_token, make_pin, make_token
from apps.notices.services import send_mail

__all__ = [
    "ATTEMPT_WINDOW",
    "DEFAULT_LIFETIME",
    "MAX_ATTEMPTS",
    "MAX_ATTEMPTS_BY_ADDRESS",
    "MAX_LIFETIME",
    "MAX_VIEW_LIMIT",
    "Factor",
    "NewLink",
    "OpenedLink",
    "close",
    "create",
    "delete_stale",
    "extend",
    "find",
    "live_links",
    "page_url",
    "pause",
    "people_to_tell",
    "redeem",
    "remind",
    "replace_actor",
    "resolve",
    "resume",
    "revoke",
    "revoke_many",
    "send_code",
    "session_hash",
    "tell_opened",
]

DEFAULT_LIFETIME: Final = timedelta(days=7)
MAX_LIFETIME: Final = timedelta(days=90)
MAX_VIEW_LIMIT: Final = 1000

SESSION_IDLE: Final = timedelta(minutes=30)
SESSION_LIFETIME: Final = timedelta(hours=8)
# How exactly idleness is known: a session that shows hundreds of frames a second is not written for each.
ACTIVITY_STEP: Final = timedelta(minutes=1)
# Beyond this many dead tokens from one address in the window, nothing more is written down about it.
MAX_REFUSALS_BY_ADDRESS: Final = 30

# Who made a link hears of openings at most this often, and of its end so long before it.
NOTICE_STEP: Final = timedelta(hours=1)
REMIND_BEFORE: Final = timedelta(hours=24)
REMIND_LIFETIME: Final = timedelta(hours=48)


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
    session: LinkSession


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
            _record(link, "link.created", context, covers=covered, details=details)
    return NewLink(link, token, pin)


def find(token: str, kind: str, *, context: Context) -> Link:
    """Return the live link with this token without opening it.

    Raises LinkUnavailableError, always the same and after the same work, when there is none; the attempt is recorded.
    """
    link = _with_its_people().filter(token_sha256=hash_token(token), kind=kind).first()
    reason = "unknown" if link is None else _why_dead(link)
    if link is None or reason:
        _refuse(link, reason, context)
        raise LinkUnavailableError
    return link


def send_code(token: str, kind: str, *, context: Context) -> Link:
    """Send a one-time code to the address that the link's maker wrote down; return the link.

    Raises LinkUnavailableError (as `find`, also for a link that asks for no code) and TooManyAttemptsError.
    """
    link = find(token, kind, context=context)
    if link.factor != Factor.MAIL_CODE:
        raise LinkUnavailableError
    factors.send_code(link, context, actor=replace_actor(context, link))
    return link


def redeem(token: str, pin: str, kind: str, *, context: Context) -> OpenedLink:
    """Open the link with this token for one browser: count one view and begin a session.

    `pin` is the answer to whatever the link asks: the PIN, the date of birth (digits in the order year, month, day) or
    the code. Raises LinkUnavailableError (as `find`), WrongPinError, TooManyAttemptsError. Guesses are counted before
    they are looked at, so that guessing in parallel gains nothing: 5 for one address in 15 minutes, and as many in all
    as the link allows, then it is frozen and its maker told.
    """
    link = find(token, kind, context=context)
    actor = replace_actor(context, link)
    attempt = factors.check(link, pin, context, actor=actor) if link.factor != Factor.NONE else None
    if link.factor != Factor.NONE and attempt is None:
        if _freeze_if_guessed_at(link, actor):
            raise LinkUnavailableError
        raise WrongPinError
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
            if not factors.use_up(link, pin):
                # The same code in two browsers at once opens one of them.
                raise LinkUnavailableError
        session = LinkSession.objects.create(
            link=link,
            secret_sha256=hash_token(secret),
            remote_addr=context.remote_addr,
            user_agent=context.user_agent[:300],
        )
        _record(link, "link.opened", replace(actor, session_hash=session_hash(session)))
    return OpenedLink(link, secret, session)


_SESSION: PreparedQuery[LinkSession] = PreparedQuery(
    lambda: LinkSession.objects.select_related("link__clinic", "link__parent__created_by", "link__created_by").filter(
        secret_sha256=Asked("secret_sha256"), link__public_id=Asked("link_reference"), link__kind=Asked("kind")
    )
)


def resolve(link_reference: str, secret: str, kind: str) -> LinkSession:
    """Return the running session of the link with this public id for the secret in a cookie; `.link.clinic` is loaded.

    Raises LinkUnavailableError when the link or the one it was passed on from was revoked, paused, frozen or has
    expired, its maker's account or its clinic is closed, the session was idle for 30 minutes or is 8 hours old, or the
    secret belongs to none. Reads the database each time (SHARE-02, SHARE-03).
    """
    session = _SESSION.first(secret_sha256=hash_token(secret), link_reference=link_reference, kind=kind)
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
    """Take a link back, and with it those passed on from it; the next request of anyone who opened it is refused.

    A second time changes nothing.
    """
    with transaction.atomic():
        if not Link.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=timezone.now()):
            return
        for covered in covers or [link.audit_reference()]:
            _record(link, "link.revoked", context, covers=covered)
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
            _record(link, "link.paused", context)


def resume(link: Link, *, context: Context) -> None:
    """Open a paused link again. Raises billing's LimitReachedError when the plan allows no further live link."""
    with transaction.atomic():
        reserve(link.clinic, Limit.LINKS, 1, used=lambda: live_links(link.clinic).count())
        if Link.objects.filter(pk=link.pk).exclude(paused_at=None).update(paused_at=None):
            _record(link, "link.resumed", context)


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
        _record(link, "link.extended", context, details={"expires_at": expires_at.isoformat()})


def people_to_tell(link: Link) -> list[str]:
    """Return the e-mail addresses of who made the link and of the clinic's owners, each once."""
    owners = Membership.objects.filter(clinic_id=link.clinic_id, role=Role.OWNER, user__is_active=True)
    addresses = set(owners.values_list("user__email", flat=True))
    if link.created_by is not None and link.created_by.is_active:
        addresses.add(link.created_by.email)
    return sorted(addresses)


def page_url(link: Link) -> str:
    """Return where the clinic's people see this link; for mails, since there is no request to ask."""
    name = {"upload": "upload-request"}.get(link.kind, "link-detail")
    return str(settings.BASE_URL) + reverse(name, args=[link.clinic.slug, link.public_id])


def tell_opened(link: Link) -> None:
    """Tell who made the link that it was opened, at most once an hour."""
    maker = link.created_by
    if maker is None or not maker.is_active:
        return
    now = timezone.now()
    with transaction.atomic():
        due = Link.objects.filter(Q(notified_at=None) | Q(notified_at__lte=now - NOTICE_STEP), pk=link.pk)
        if due.update(notified_at=now):
            send_mail(maker.email, "link_opened", {"url": page_url(link)})


def remind() -> int:
    """Remind, a day before the end, who made a link that nobody opened, and the recipient whose address we know.

    Returns how many links that were. Links that live for two days or less remind nobody.
    """
    now = timezone.now()
    due = _with_its_people().filter(
        _live(now), reminded_at=None, expires_at__lte=now + REMIND_BEFORE, kind="share", parent=None
    )
    count = 0
    for link in due.order_by("pk")[:500]:
        with transaction.atomic():
            if not Link.objects.filter(pk=link.pk, reminded_at=None).update(reminded_at=now):
                continue
            if link.expires_at - (link.starts_at or link.created_at) <= REMIND_LIFETIME:
                continue
            count += 1
            if link.recipient_email:
                send_mail(link.recipient_email, "link_ends_recipient", {"expires_at": link.expires_at})
            if not link.view_count and link.created_by is not None and link.created_by.is_active:
                send_mail(link.created_by.email, "link_ends", {"url": page_url(link)})
    return count


def delete_stale() -> int:
    """Delete sessions, attempts and codes that no longer mean anything, and return how many rows went; links stay."""
    now = timezone.now()
    sessions, _rows = LinkSession.objects.filter(created_at__lt=now - 2 * SESSION_LIFETIME).delete()
    attempts, _rows = LinkAttempt.objects.filter(attempted_at__lt=now - 2 * ATTEMPT_WINDOW).delete()
    codes, _rows = LinkCode.objects.filter(sent_at__lt=now - 2 * ATTEMPT_WINDOW).delete()
    return sessions + attempts + codes


def session_hash(session: LinkSession) -> str:
    """Return what names a session in the audit trail: a hash, never its secret."""
    return bytes(session.secret_sha256).hex()


def replace_actor(context: Context, link: Link) -> Context:
    """Return the same place and moment with the link as the one who acts, whoever else is signed in there."""
    return replace(
        context, actor_kind="link", actor_reference=link.public_id, user_id=None, user_email="", session_hash=""
    )


def _check_wishes(lifetime: timedelta, max_views: int | None, max_attempts: int, begins_at: datetime) -> None:
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise LinkRefusedError(_("A link lives at most %(days)d days.") % {"days": MAX_LIFETIME.days})
    if begins_at > timezone.now() + MAX_LIFETIME:
        raise LinkRefusedError(_("A link begins at most %(days)d days from now.") % {"days": MAX_LIFETIME.days})
    if max_views is not None and not 0 < max_views <= MAX_VIEW_LIMIT:
        raise LinkRefusedError(_("The number of views must lie between 1 and %(most)d.") % {"most": MAX_VIEW_LIMIT})
    if not 0 < max_attempts <= MAX_ATTEMPTS:
        raise LinkRefusedError(_("Between 1 and %(most)d wrong answers freeze a link.") % {"most": MAX_ATTEMPTS})


def _with_its_people() -> QuerySet[Link]:
    return Link.objects.select_related("clinic", "created_by", "parent__created_by")


def _live(now: datetime) -> Q:
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


def _why_dead(link: Link, now: datetime | None = None) -> str:
    if link.clinic.is_suspended:
        return "suspended"
    # SHARE-16: nobody who has left speaks for the clinic any more.
    if any(
        one is not None and one.created_by is not None and not one.created_by.is_active for one in (link, link.parent)
    ):
        return "maker-left"
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


def _freeze_if_guessed_at(link: Link, actor: Context) -> bool:
    with transaction.atomic():
        frozen = Link.objects.filter(pk=link.pk, failed_attempts__gte=F("max_attempts"), frozen_at=None)
        if not frozen.update(frozen_at=timezone.now()):
            return False
        _record(link, "link.frozen", actor, details={"reason": f"wrong-{link.factor}"})
        for address in people_to_tell(link):
            send_mail(address, "link_frozen", {"url": page_url(link)})
    return True
