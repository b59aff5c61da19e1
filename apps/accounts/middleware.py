"""What every request passes on its way in: a number, the session's limits, the rule of its URL."""

from __future__ import annotations

import secrets
import zoneinfo
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from apps.accounts import gate, sessions
from apps.accounts.addresses import audit_context
from apps.accounts.roles import Rule
from apps.accounts.routing import rule_of
from apps.accounts.trail import record_for_person
from apps.audit.errors import AuditUnavailableError
from apps.audit.services import acting
from apps.clinics.scoping import clinic_scope

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def declared_rule(request: HttpRequest, view: Callable[..., Any]) -> Rule | None:
    """Return the rule that a request has to satisfy.

    Everything in Django admin is for platform admins, and changing something there asks for a fresh second factor.
    """
    match = request.resolver_match
    if match is not None and "admin" in match.app_names:
        return Rule.platform(step_up=request.method not in ("GET", "HEAD"))
    return rule_of(view)


class RequestIdMiddleware:
    """Numbers every request, and forbids to keep any answer that does not say otherwise."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with X-Request-Id; `no-store` unless a header is set already, as WhiteNoise does (WEB-10)."""
        request.request_id = secrets.token_hex(8)  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = request.request_id  # type: ignore[attr-defined]
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response


class PersonSessionMiddleware(SessionMiddleware):
    """Django's sessions; the cookie of a platform admin follows no link from elsewhere (SESS-01)."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session and set its cookie, SameSite=Strict for platform admins."""
        answer: HttpResponse = super().process_response(request, response)
        row = getattr(getattr(request, "session", None), "row", None)
        cookie = answer.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie and row is not None and row.user is not None and row.user.is_platform_admin:
            cookie["samesite"] = "Strict"
        return answer


class SessionTimeoutMiddleware:
    """Ends sessions that rested too long or grew too old; writes down activity (SESS-02)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """End the session if it is overdue; the request goes on as a stranger's."""
        if request.user.is_authenticated:
            row = request.session.row  # type: ignore[attr-defined]
            if row is None or sessions.is_overdue(row):
                record_for_person("session.expired", request.user, context=audit_context(request))
                request.session.flush()
                request.user = AnonymousUser()
                request.has_session_expired = True  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Count the request as activity, if it is a person's."""
        if request.user.is_authenticated and sessions.counts_as_activity(request, declared_rule(request, view)):
            sessions.touch(request.session.row)  # type: ignore[attr-defined]


class AccessRuleMiddleware:
    """Enforces what each URL declares, and opens the clinic's scope around the view."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Keep what `process_view` opened until the answer is made (not until it is streamed)."""
        request.clinic = request.membership = request.api_token = None  # type: ignore[attr-defined]
        if gate.bearer_secret(request) is not None:
            # No browser adds this header by itself, and a session beside it is not looked at.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001
        with ExitStack() as opened:
            request.opened = opened  # type: ignore[attr-defined]
            return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Answer instead of the view where the rule is not met."""
        rule = declared_rule(request, view)
        try:
            refusal = gate.check(request, rule, kwargs.get("clinic_slug"))
        except AuditUnavailableError:
            return gate.unrecorded(request)
        if refusal is not None:
            return refusal
        opened: ExitStack = request.opened  # type: ignore[attr-defined]
        opened.enter_context(acting(audit_context(request)))
        clinic = request.clinic  # type: ignore[attr-defined]
        if clinic is not None:
            opened.enter_context(clinic_scope(clinic))
            opened.enter_context(timezone.override(zoneinfo.ZoneInfo(clinic.time_zone)))
        return None
