"""Pages about the signed-in person: password, sessions, authenticators."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts import factors as second_factor
from apps.accounts import resets, signin
from apps.accounts.addresses import audit_context
from apps.accounts.errors import LastFactorError
from apps.accounts.forms import ChangePasswordForm
from apps.accounts.gate import MUST_CHANGE_PASSWORD
from apps.accounts.models import RecoveryKit, User, UserSession
from apps.accounts.passwords import policy_of


@sensitive_post_parameters("current", "password", "repeated")
@require_http_methods(["GET", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """Change one's own password; this session goes on under a new key, all others end."""
    user = _user(request)
    form = ChangePasswordForm(request.POST or None, policy=policy_of(user))
    if request.method == "POST" and form.is_valid():
        try:
            resets.change_password(
                user,
                form.cleaned_data["current"],
                form.cleaned_data["password"],
                keep_session=_row(request).session_key,
                context=audit_context(request),
            )
        except ValidationError as error:
            form.add_error(None if hasattr(error, "error_dict") else "password", error)
        else:
            signin.renew_after_password(request, user)
            messages.success(request, _("The password was changed. You are signed out everywhere else."))
            return redirect("home")
    context = {"form": form, "is_forced": bool(request.session.get(MUST_CHANGE_PASSWORD))}
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(request, "accounts/password_change.html", context, status=status)


@require_GET
def sessions(request: HttpRequest) -> HttpResponse:
    """List where the person is signed in (SESS-06)."""
    rows = UserSession.objects.filter(user=_user(request)).order_by("-last_activity_at")
    return render(request, "accounts/sessions.html", {"sessions": rows, "this": _row(request).public_id})


@require_POST
def end_session(request: HttpRequest, public_id: str) -> HttpResponse:
    """End one of one's own sessions."""
    user = _user(request)
    if not signin.end_session(user, public_id, request=request):
        raise Http404
    messages.success(request, _("That session was ended."))
    return redirect("sessions")


@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """End all of one's own sessions but this one."""
    user = _user(request)
    signin.end_other_sessions(user, request=request)
    messages.success(request, _("You are signed out everywhere else."))
    return redirect("sessions")


@require_GET
def factors(request: HttpRequest) -> HttpResponse:
    """List the person's authenticators and how many recovery codes are left."""
    user = _user(request)
    kit = RecoveryKit.objects.filter(user=user).first()
    context = {
        "devices": second_factor.authenticators(user),
        "code_count": kit.codes.count() if kit else 0,
    }
    return render(request, "accounts/factors.html", context)


@require_http_methods(["GET", "POST"])
def new_recovery_codes(request: HttpRequest) -> HttpResponse:
    """Make new recovery codes and show them once; the old ones stop working."""
    if request.method == "GET":
        return redirect("factors")
    user = _user(request)
    codes = second_factor.make_recovery_codes(user, context=audit_context(request))
    return render(request, "accounts/recovery_codes.html", {"codes": codes, "next": "/"})


@require_http_methods(["GET", "POST"])
def remove_factor(request: HttpRequest, public_id: str) -> HttpResponse:
    """Remove one of one's own authenticators."""
    if request.method == "GET":
        return redirect("factors")
    user = _user(request)
    device = second_factor.authenticators(user).filter(public_id=public_id).first()
    if device is None:
        raise Http404
    try:
        second_factor.remove_authenticator(device, context=audit_context(request))
    except LastFactorError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The authenticator was removed."))
    return redirect("factors")


@require_GET
def activity(request: HttpRequest) -> HttpResponse:
    """Take note that a person is at the keyboard; the middleware has written it down when this runs."""
    return HttpResponse(status=HTTPStatus.NO_CONTENT)


def _row(request: HttpRequest) -> UserSession:
    row: UserSession = request.session.row  # type: ignore[attr-defined]
    return row


def _user(request: HttpRequest) -> User:
    user: User = request.user  # type: ignore[assignment]
    return user
