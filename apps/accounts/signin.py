"""The one way in: password, then second factor; for pages and for Django admin alike (AUTH-02)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import django_otp
from axes.handlers.proxy import AxesProxyHandler
from django.contrib import auth
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from django_otp.models import Device

from apps.accounts import throttle
from apps.accounts.addresses import audit_context, client_address, lockout_address
from apps.accounts.errors import TooManyAttemptsError
from apps.accounts.gate import MUST_CHANGE_PASSWORD
from apps.accounts.models import User, UserSession
from apps.accounts.passwords import is_too_old
from apps.accounts.sessions import ABSOLUTE, ADMIN_ABSOLUTE
from apps.accounts.trail import record_for_person
from apps.audit.services import Outcome, record

LOCKED_SECONDS: Final = 15 * 60


@sensitive_variables("password")
def sign_in(request: HttpRequest, email: str, password: str) -> User | None:
    """Check the password and open a session that can do nothing but show the second factor; None when it is wrong.

    The answer to an unknown address takes as long and says the same as the answer to a wrong password (AUTH-13).
    Raises TooManyAttemptsError; the refused attempt is not examined then.
    """
    username, address = email.strip().lower(), lockout_address(request)
    _refuse_too_many(request, username, address)
    throttle.count_attempt(username, address)
    user = auth.authenticate(request, email=username, password=password)
    if user is None:
        _record_failure(request, username, "wrong-password")
        if getattr(request, "axes_locked_out", False):
            _record_failure(request, username, "locked-out", verb="user.locked_out")
            raise TooManyAttemptsError(LOCKED_SECONDS)
        return None
    assert isinstance(user, User)  # noqa: S101  # the only user model there is
    throttle.forgive(username, address)
    open_session(request, user)
    record_for_person("user.password_accepted", user, context=audit_context(request))
    return user


def open_session(request: HttpRequest, user: User) -> None:
    """Give a person who has shown their password (or just set it) a new session without second factor."""
    request.session.flush()
    auth.login(request, user, backend="apps.accounts.backends.EmailBackend")
    _describe_session(request, user)


def complete_factor(request: HttpRequest, device: Device) -> None:
    """Make the session a verified one, under a new key (SESS-03)."""
    user: User = request.user  # type: ignore[assignment]
    django_otp.login(request, device)
    request.session.cycle_key()
    rotate_token(request)
    if is_too_old(user):
        request.session[MUST_CHANGE_PASSWORD] = True
    _describe_session(request, user, is_verified=True)
    record_for_person("user.signed_in", user, context=audit_context(request))


def confirm_again(request: HttpRequest) -> None:
    """Note that the person of a verified session has just shown their second factor again (step-up)."""
    row: UserSession = request.session.row  # type: ignore[attr-defined]
    UserSession.objects.filter(pk=row.pk).update(verified_at=timezone.now())
    record_for_person("user.confirmed", request.user, context=audit_context(request))  # type: ignore[arg-type]


def sign_out(request: HttpRequest) -> None:
    """End the session on the server."""
    if request.user.is_authenticated:
        record_for_person("user.signed_out", request.user, context=audit_context(request))
    auth.logout(request)


def end_sessions(user: User, *, keep: str = "") -> int:
    """End all sessions of a person but the one whose row has the key `keep`; return how many."""
    count, _rows = UserSession.objects.filter(user=user).exclude(session_key=keep).delete()
    return count


def end_session(user: User, public_id: str, *, request: HttpRequest) -> bool:
    """End one session of this person; False when there is none with this id."""
    with transaction.atomic():
        count, _rows = UserSession.objects.filter(user=user, public_id=public_id).delete()
        if count:
            record_for_person("session.ended", user, context=audit_context(request))
    return bool(count)


def end_other_sessions(user: User, *, request: HttpRequest) -> None:
    """End all sessions of this person but the request's."""
    row: UserSession = request.session.row  # type: ignore[attr-defined]
    with transaction.atomic():
        count = end_sessions(user, keep=row.session_key)
        record_for_person("session.ended", user, context=audit_context(request), details={"session_count": count})


def renew_after_password(request: HttpRequest, user: User) -> None:
    """Keep this session after its person's password changed: new key, new hash, no duty to change it."""
    request.session.pop(MUST_CHANGE_PASSWORD, None)
    auth.update_session_auth_hash(request, user)
    _describe_session(request, user, is_verified=True)


def locked_out(request: HttpRequest, response: Any = None, credentials: dict[str, Any] | None = None) -> HttpResponse:
    """Return the answer to an attempt that is not examined: 429 and when to come back."""
    return too_many_attempts(request, LOCKED_SECONDS)


def too_many_attempts(request: HttpRequest, retry_after_seconds: int) -> HttpResponse:
    """Return 429 with Retry-After (RFC 6585 4)."""
    minutes = -(-retry_after_seconds // 60)
    answer = render(
        request,
        "accounts/too_many_attempts.html",
        {"minutes": minutes, "seconds": retry_after_seconds},
        status=HTTPStatus.TOO_MANY_REQUESTS,
    )
    answer["Retry-After"] = str(retry_after_seconds)
    return answer


def _refuse_too_many(request: HttpRequest, username: str, address: str) -> None:
    if not AxesProxyHandler.is_allowed(request, {"email": username}):
        _record_failure(request, username, "locked-out")
        raise TooManyAttemptsError(LOCKED_SECONDS)
    wait = throttle.seconds_to_wait(username, address)
    if wait:
        _record_failure(request, username, "throttled")
        raise TooManyAttemptsError(wait)


def _record_failure(request: HttpRequest, username: str, reason: str, *, verb: str = "user.sign_in_failed") -> None:
    """Record a failure; what was typed as user name is not written down (it may be a password)."""
    user = User.objects.filter(email__iexact=username).first()
    context, details = audit_context(request), {"reason": reason}
    if user is None:
        record(verb, context=context, clinic_id=None, object_kind="user", outcome=Outcome.FAILURE, details=details)
    else:
        record_for_person(verb, user, context=context, outcome=Outcome.FAILURE, details=details)


def _describe_session(request: HttpRequest, user: User, *, is_verified: bool = False) -> None:
    now = timezone.now()
    row: UserSession = request.session.row  # type: ignore[attr-defined]
    facts = {
        "user": user,
        "remote_addr": client_address(request),
        "user_agent": request.headers.get("User-Agent", "")[:300],
        "expire_date": now + (ADMIN_ABSOLUTE if user.is_platform_admin else ABSOLUTE),
        "last_activity_at": now,
        "verified_at": now if is_verified else None,
    }
    UserSession.objects.filter(pk=row.pk).update(**facts)
    for name, value in facts.items():
        setattr(row, name, value)
