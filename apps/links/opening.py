"""Opening a link, and asking on every request after that whether it still holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.audit.services import Context, Outcome, record
from apps.clinics.services import Asked, PreparedQuery
from apps.links import factors
from apps.links.errors import LinkUnavailableError, WrongPinError
from apps.links.factors import ATTEMPT_WINDOW
from apps.links.holding import is_live, record_of, why_dead, with_its_people
from apps.links.models import Factor, Link, LinkAttempt, LinkCode, LinkSession, LinkState
from apps.links.telling import page_url, people_to_tell
from apps.links.tokens import hash_token, make_token
from apps.notices.services import send_mail

SESSION_IDLE: Final = timedelta(minutes=30)
SESSION_LIFETIME: Final = timedelta(hours=8)
# How exactly idleness is known: a session that shows hundreds of frames a second is not written for each.
ACTIVITY_STEP: Final = timedelta(minutes=1)
# Beyond this many dead tokens from one address in the window, nothing more is written down about it.
MAX_REFUSALS_BY_ADDRESS: Final = 30


@dataclass(frozen=True)
class OpenedLink:
    """A link just opened, with the secret for the browser's cookie."""

    link: Link
    secret: str
    session: LinkSession


_LINK: PreparedQuery[Link] = PreparedQuery(
    lambda: with_its_people().filter(token_sha256=Asked("token_sha256"), kind=Asked("kind"))
)


def find(token: str, kind: str, *, context: Context) -> Link:
    """Return the live link with this token without opening it.

    Raises LinkUnavailableError, always the same and after the same work, when there is none; the attempt is recorded.
    """
    link = _LINK.first(token_sha256=hash_token(token), kind=kind)
    reason = "unknown" if link is None else why_dead(link)
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
        counted = Link.objects.filter(is_live(now), pk=link.pk).update(
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
        record_of(link, "link.opened", replace(actor, session_hash=session_hash(session)))
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
    if session is None or why_dead(session.link, now) not in ("", LinkState.EXHAUSTED):
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
        record_of(link, "link.frozen", actor, details={"reason": f"wrong-{link.factor}"})
        for address in people_to_tell(link):
            send_mail(address, "link_frozen", {"url": page_url(link)})
    return True
