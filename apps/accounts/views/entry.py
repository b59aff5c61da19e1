"""Getting in and out: sign-in, second factor, enrolment, invitation, forgotten password."""

from __future__ import annotations

from http import HTTPStatus

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts import factors, invitations, resets, signin
from apps.accounts.addresses import audit_context, lockout_address
from apps.accounts.errors import InvitationInvalidError, TooManyAttemptsError, WrongCodeError
from apps.accounts.forms import CodeForm, EnrolForm, InvitedForm, NewPasswordForm, ResetForm, SignInForm
from apps.accounts.models import Invitation, Membership, User
from apps.accounts.passwords import policy_of
from apps.accounts.roles import Capability

# Where each role's work begins, by the first right it has.
_START_PAGES = (
    (Capability.STUDY_SEARCH, "worklist"),
    (Capability.UPLOAD_CREATE, "upload"),
    (Capability.AUDIT_READ, "audit"),
    (Capability.BILLING_READ, "billing"),
)


def home(request: HttpRequest) -> HttpResponse:
    """Take a person to where their work begins: their clinic, the choice of clinics, or Django admin."""
    places = list(_places(request.user))  # type: ignore[arg-type]
    if len(places) == 1:
        return redirect(start_page(places[0]))
    if not places and request.user.is_platform_admin:  # type: ignore[union-attr]
        return redirect("admin:index")
    return redirect("clinics")


def choose_clinic(request: HttpRequest) -> HttpResponse:
    """List the person's clinics."""
    places = [(place, start_page(place)) for place in _places(request.user)]  # type: ignore[arg-type]
    return render(request, "accounts/clinics.html", {"places": places})


def start_page(place: Membership) -> str:
    """Return the address of the page where work in this clinic begins."""
    for capability, name in _START_PAGES:
        if capability in place.capabilities:
            try:
                return reverse(name, args=[place.clinic.slug])
            except NoReverseMatch:
                continue
    return reverse("clinics")


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask for e-mail address and password."""
    form = SignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = signin.sign_in(request, form.cleaned_data["email"], form.cleaned_data["password"])
        except TooManyAttemptsError as error:
            return signin.too_many_attempts(request, error.retry_after_seconds)
        if user is not None:
            return _go_on(request, "verify" if factors.has_factor(user) else "enrol")
        form.add_error(None, _("The e-mail address or the password is not right."))
    elif request.method == "GET" and factors.is_verified(request.user):
        return redirect(_next(request))
    context = {"form": form, "next": _next(request), "reason": request.GET.get("reason", "")}
    return render(request, "accounts/sign_in.html", context, status=_status(form))


@require_http_methods(["GET", "POST"])
def verify(request: HttpRequest) -> HttpResponse:
    """Ask for the second factor: at sign-in, or again before a weighty act (step-up)."""
    user: User = request.user  # type: ignore[assignment]
    if not factors.has_factor(user):
        return _go_on(request, "enrol")
    devices = list(factors.authenticators(user))
    chosen = (
        request.POST.get("device") or request.GET.get("device") or (devices[0].public_id if devices else "recovery")
    )
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            device = factors.verify_factor(user, chosen, form.cleaned_data["code"], context=audit_context(request))
        except WrongCodeError as error:
            form.add_error("code", str(error))
        except TooManyAttemptsError as error:
            return signin.too_many_attempts(request, error.retry_after_seconds)
        else:
            if factors.is_verified(user):
                signin.confirm_again(request)
            else:
                signin.complete_factor(request, device)
            return redirect(_next(request))
    context = {
        "form": form,
        "devices": devices,
        "chosen": chosen,
        "is_recovery": chosen == "recovery",
        "is_step_up": factors.is_verified(user),
        "next": _next(request),
    }
    return render(request, "accounts/verify.html", context, status=_status(form))


@require_http_methods(["GET", "POST"])
def enrol(request: HttpRequest) -> HttpResponse:
    """Add an authenticator: the first one after the first password, further ones for verified people only."""
    user: User = request.user  # type: ignore[assignment]
    if not factors.is_verified(user) and factors.has_factor(user):
        return _go_on(request, "verify")
    device = factors.start_enrolment(user)
    form = EnrolForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, code = form.cleaned_data["name"], form.cleaned_data["code"].replace(" ", "")
        try:
            codes = factors.confirm_enrolment(device, name, code, context=audit_context(request))
        except WrongCodeError as error:
            form.add_error("code", str(error))
        except TooManyAttemptsError as error:
            return signin.too_many_attempts(request, error.retry_after_seconds)
        else:
            if not factors.is_verified(user):
                signin.complete_factor(request, device)
            if codes:
                return render(request, "accounts/recovery_codes.html", {"codes": codes, "next": _next(request)})
            return redirect("factors")
    context = {
        "form": form,
        "manual_key": factors.manual_key(device),
        "next": _next(request),
        "is_first": not factors.is_verified(user),
    }
    return render(request, "accounts/enrol.html", context, status=_status(form))


@require_GET
def enrolment_qr(request: HttpRequest) -> HttpResponse:
    """Return the waiting authenticator's QR code; never kept anywhere."""
    user: User = request.user  # type: ignore[assignment]
    if not factors.is_verified(user) and factors.has_factor(user):
        return HttpResponse(status=HTTPStatus.NOT_FOUND)
    response = HttpResponse(factors.enrolment_qr(factors.start_enrolment(user)), content_type="image/svg+xml")
    response["Cache-Control"] = "no-store"
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session here and on the server, and have the browser forget what it kept (SESS-04)."""
    signin.sign_out(request)
    response = redirect("sign-in")
    response["Clear-Site-Data"] = '"cache", "cookies", "storage"'
    return response


@sensitive_post_parameters("password", "repeated")
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Let an invited person open an account, or join with the account they have."""
    try:
        found = invitations.find_invitation(token)
    except InvitationInvalidError as error:
        return _invalid_invitation(request, error)
    user = request.user
    context = {"invitation": found, "token": token}
    if User.objects.filter(email__iexact=found.email).exists():
        return _join(request, found, context)
    policy = invitations.policy_of_invitation(found, request.POST.get("name", ""))
    form = InvitedForm(request.POST or None, policy=policy)
    if request.method == "POST" and form.is_valid():
        try:
            user = invitations.accept_invitation(
                found, form.cleaned_data["name"], form.cleaned_data["password"], context=audit_context(request)
            )
        except ValidationError as error:
            form.add_error("password", error)
        except InvitationInvalidError as error:
            return _invalid_invitation(request, error)
        else:
            signin.open_session(request, user)
            return redirect("enrol")
    return render(request, "accounts/invitation.html", {**context, "form": form}, status=_status(form))


@require_http_methods(["GET", "POST"])
def request_reset(request: HttpRequest) -> HttpResponse:
    """Take an e-mail address and promise a letter, whether or not it belongs to anybody (AUTH-13)."""
    form = ResetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            resets.request_reset(form.cleaned_data["email"], lockout_address(request))
        except TooManyAttemptsError as error:
            return signin.too_many_attempts(request, error.retry_after_seconds)
        return render(request, "accounts/reset_requested.html")
    return render(request, "accounts/reset_request.html", {"form": form}, status=_status(form))


@sensitive_post_parameters("password", "repeated")
@require_http_methods(["GET", "POST"])
def reset_password(request: HttpRequest, public_id: str, token: str) -> HttpResponse:
    """Set a new password by the address in a letter; signing in still takes the second factor."""
    user = resets.find_reset(public_id, token)
    if user is None:
        return render(request, "accounts/reset_invalid.html", status=HTTPStatus.NOT_FOUND)
    form = NewPasswordForm(request.POST or None, policy=policy_of(user))
    if request.method == "POST" and form.is_valid():
        try:
            resets.reset_password(user, form.cleaned_data["password"], context=audit_context(request))
        except ValidationError as error:
            form.add_error("password", error)
        else:
            return redirect(f"{reverse('sign-in')}?reason=reset")
    return render(request, "accounts/reset_password.html", {"form": form, "person": user}, status=_status(form))


def _join(request: HttpRequest, found: Invitation, context: dict[str, object]) -> HttpResponse:
    user = request.user
    may_join = user.is_authenticated and factors.is_verified(user) and user.email.lower() == found.email.lower()
    if request.method == "POST" and may_join:
        try:
            invitations.join(found, user, context=audit_context(request))  # type: ignore[arg-type]
        except InvitationInvalidError as error:
            return _invalid_invitation(request, error)
        return redirect("home")
    return render(request, "accounts/invitation_join.html", {**context, "may_join": may_join})


def _invalid_invitation(request: HttpRequest, error: InvitationInvalidError) -> HttpResponse:
    return render(request, "accounts/invitation_invalid.html", {"sentence": str(error)}, status=HTTPStatus.NOT_FOUND)


def _places(user: User) -> QuerySet[Membership]:
    places = Membership.objects.select_related("clinic").filter(user=user, clinic__suspended_at=None)
    return places.order_by("clinic__name")


def _next(request: HttpRequest) -> str:
    """Return where the person wanted to go, if that is here (WEB-10); else the start page."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=request.is_secure()):
        return wanted
    return reverse("home")


def _go_on(request: HttpRequest, name: str) -> HttpResponse:
    response = redirect(name)
    wanted = _next(request)
    if wanted != reverse("home"):
        query = request.GET.copy()
        query.clear()
        query["next"] = wanted
        response["Location"] += f"?{query.urlencode()}"
    return response


def _status(form: object) -> int:
    """Return 422 for a form that was sent with mistakes, so that nothing takes it for done."""
    return HTTPStatus.UNPROCESSABLE_ENTITY if getattr(form, "errors", None) else HTTPStatus.OK
