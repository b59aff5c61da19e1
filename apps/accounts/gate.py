"""Does this request satisfy the rule of its URL? The middleware asks here before any view runs.

The answer to somebody else's clinic is the answer to a clinic that does not exist: the same 404 after the same queries.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.addresses import audit_context, client_address
from apps.accounts.factors import has_factor, is_verified
from apps.accounts.models import Membership, User
from apps.accounts.roles import Capability, Rule, RuleKind
from apps.accounts.sessions import STEP_UP
from apps.accounts.tokens import find_token
from apps.audit.services import Outcome, record
from apps.clinics.models import Clinic

MUST_CHANGE_PASSWORD = "must_change_password"  # noqa: S105  # a key in the session


def bearer_secret(request: HttpRequest) -> str | None:
    """Return what follows `Authorization: Bearer` (RFC 6750), None without such a header."""
    scheme, _space, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def check(request: HttpRequest, rule: Rule | None, clinic_slug: str | None) -> HttpResponse | None:
    """Return None when the view may run, else the answer to give instead.

    Raises Http404 for an undeclared URL and a foreign clinic, PermissionDenied for a right that the person lacks in
    their own clinic. For clinic rules it sets `request.clinic`, `request.membership` and `request.api_token`.
    """
    if rule is None:
        raise Http404
    if rule.kind is RuleKind.PUBLIC:
        return None
    refuse_cross_site(request, rule)
    if rule.kind is RuleKind.PLATFORM:
        _refuse_foreign_network(request)
    if rule.kind is RuleKind.LINK:
        return None
    if rule.kind is RuleKind.CLINIC and bearer_secret(request) is not None:
        return _check_token(request, rule, clinic_slug or "")
    if not request.user.is_authenticated:
        return _ask_to_sign_in(request, rule)
    if rule.kind is RuleKind.PASSWORD_ONLY:
        return None
    if not is_verified(request.user):
        return _ask_for_factor(request, rule)
    if rule.kind is RuleKind.PLATFORM and not request.user.is_platform_admin:
        raise Http404
    if rule.kind is RuleKind.CLINIC:
        refusal = _check_membership(request, rule, clinic_slug or "")
        if refusal is not None:
            return refusal
    return _ask_for_more(request, rule)


def has_stepped_up(request: HttpRequest) -> bool:
    """Return whether the second factor was shown within the last five minutes (SESS-07)."""
    row = getattr(request.session, "row", None)
    return row is not None and row.verified_at is not None and timezone.now() - row.verified_at <= STEP_UP


def refuse_cross_site(request: HttpRequest, rule: Rule) -> None:
    """Raise PermissionDenied when another site's page asks, other than by a link that a person follows (WEB-03).

    Fetch Metadata (W3C): browsers send Sec-Fetch-* and pages cannot change them; clients without them are no browsers.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("same-origin", "none"):
        return
    followed = (
        request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"
    )
    if request.method in ("GET", "HEAD") and followed and not rule.api:
        return
    raise PermissionDenied(_("Another website asked for this page. Open it from here instead."))


def _refuse_foreign_network(request: HttpRequest) -> None:
    """Raise Http404 when the installation's own pages are asked for from outside the networks named for them."""
    address = ipaddress.ip_address(client_address(request))
    if settings.ADMIN_NETWORKS and not any(address in network for network in settings.ADMIN_NETWORKS):
        raise Http404


def _check_token(request: HttpRequest, rule: Rule, clinic_slug: str) -> HttpResponse | None:
    # A session beside a bearer token is not looked at: requests with the header are exempt from CSRF checks.
    request.user = AnonymousUser()
    token = find_token(bearer_secret(request) or "") if rule.api else None
    if token is None:
        return _unauthorised(_("The token is unknown, has expired or was revoked."))
    request.api_token = token  # type: ignore[attr-defined]
    if token.clinic.slug != clinic_slug:
        _refuse_foreign(request, clinic_slug)
    capability = rule.capability_for(request.method)
    if token.clinic.is_suspended or capability not in token.capabilities:
        _record_denied(request, token.clinic, capability)
        return JsonResponse(
            {"code": "missing-scope", "message": _("The token's scopes do not allow this.")},
            status=HTTPStatus.FORBIDDEN,
        )
    request.clinic = token.clinic  # type: ignore[attr-defined]
    return None


def _check_membership(request: HttpRequest, rule: Rule, clinic_slug: str) -> HttpResponse | None:
    memberships = Membership.objects.select_related("clinic")
    membership = memberships.filter(user=_user(request), clinic__slug=clinic_slug).first()
    if membership is None:
        _refuse_foreign(request, clinic_slug)
    clinic = membership.clinic
    capability = rule.capability_for(request.method)
    if clinic.is_suspended:
        sentence = _("This clinic is closed at the moment. Ask whoever runs this installation.")
    elif capability not in membership.capabilities:
        sentence = _("Your role in this clinic does not include this. Ask an owner of the clinic.")
    else:
        request.clinic = clinic  # type: ignore[attr-defined]
        request.membership = membership  # type: ignore[attr-defined]
        return None
    _record_denied(request, clinic, capability)
    if rule.api:
        return JsonResponse({"code": "missing-capability", "message": sentence}, status=HTTPStatus.FORBIDDEN)
    raise PermissionDenied(sentence)


def _refuse_foreign(request: HttpRequest, clinic_slug: str) -> NoReturn:
    # Written to the installation's own trail: neither clinic learns of the other (AUD-08).
    record(
        "access.denied",
        context=audit_context(request),
        clinic_id=None,
        object_kind="clinic",
        object_reference=clinic_slug[:50],
        outcome=Outcome.DENIED,
        details={"reason": "foreign-clinic", "method": (request.method or "").lower()},
    )
    raise Http404


def _record_denied(request: HttpRequest, clinic: Clinic, capability: Capability | None) -> None:
    record(
        "access.denied",
        context=audit_context(request),
        clinic_id=clinic.pk,
        object_kind="clinic",
        object_reference=clinic.public_id,
        outcome=Outcome.DENIED,
        details={
            "reason": "clinic-suspended" if clinic.is_suspended else "missing-capability",
            "capability": capability.value if capability else "none",
        },
    )


def _unauthorised(message: str) -> HttpResponse:
    response = JsonResponse({"code": "unauthorised", "message": message}, status=HTTPStatus.UNAUTHORIZED)
    response["WWW-Authenticate"] = 'Bearer realm="viewbox"'
    return response


def _ask_to_sign_in(request: HttpRequest, rule: Rule) -> HttpResponse:
    if rule.api:
        return _unauthorised(_("Sign in, or send a bearer token."))
    query = {"next": _way_back(request)}
    if getattr(request, "has_session_expired", False):
        query["reason"] = "idle"
    return _redirect(request, rule, f"{reverse(settings.LOGIN_URL)}?{urlencode(query)}")


def _ask_for_factor(request: HttpRequest, rule: Rule) -> HttpResponse:
    step = "verify" if has_factor(_user(request)) else "enrol"
    return _redirect(request, rule, f"{reverse(step)}?{urlencode({'next': _way_back(request)})}")


def _user(request: HttpRequest) -> User:
    user: User = request.user  # type: ignore[assignment]
    return user


def _ask_for_more(request: HttpRequest, rule: Rule) -> HttpResponse | None:
    if request.session.get(MUST_CHANGE_PASSWORD) and request.path != reverse("password-change"):
        return _redirect(request, rule, reverse("password-change"))
    if rule.step_up and not has_stepped_up(request):
        return _redirect(request, rule, f"{reverse('verify')}?{urlencode({'next': request.path})}")
    return None


def _redirect(request: HttpRequest, rule: Rule, url: str) -> HttpResponse:
    """Redirect a person; tell a script 401, and htmx where to take the person."""
    if rule.api:
        return _unauthorised(_("Complete the sign-in first."))
    if request.headers.get("HX-Request") == "true":
        response = HttpResponse(status=HTTPStatus.UNAUTHORIZED)
        response["HX-Redirect"] = url
        return response
    if request.headers.get("Sec-Fetch-Dest", "document") != "document":
        return HttpResponse(status=HTTPStatus.UNAUTHORIZED)
    return HttpResponseRedirect(url)


def _way_back(request: HttpRequest) -> str:
    """Return the path to come back to: this page for GET, the start page for everything that cannot be repeated."""
    return request.get_full_path() if request.method == "GET" else reverse("home")


def unrecorded(request: HttpRequest) -> HttpResponse:
    """Return 503 for what could not be recorded: no record, no bytes (AUD-02)."""
    response = render(request, "503.html", status=HTTPStatus.SERVICE_UNAVAILABLE)
    response["Retry-After"] = "5"
    return response
