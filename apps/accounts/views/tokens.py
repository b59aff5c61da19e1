"""Bearer tokens of a clinic, for its owners."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts import tokens as services
from apps.accounts.addresses import audit_context
from apps.accounts.forms import TokenForm
from apps.accounts.models import ApiToken
from apps.accounts.roles import Scope
from apps.accounts.routing import ClinicRequest


@require_http_methods(["GET", "POST"])
def tokens(request: ClinicRequest, clinic_slug: str) -> HttpResponse:
    """List the clinic's tokens, and make one, whose secret is shown this once."""
    form, secret = TokenForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        _token, secret = services.create_api_token(
            request.clinic,
            [Scope(scope) for scope in form.cleaned_data["scopes"]],
            name=form.cleaned_data["name"],
            days=form.cleaned_data["days"],
            created_by=request.user,
            context=audit_context(request),
        )
        form = TokenForm()
    rows = ApiToken.objects.filter(clinic=request.clinic, revoked_at=None).order_by("-created_at")
    has_errors = form.is_bound and bool(form.errors)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if has_errors else HTTPStatus.OK
    return render(request, "accounts/tokens.html", {"form": form, "secret": secret, "tokens": rows}, status=status)


@require_POST
def revoke_token(request: ClinicRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Revoke a token."""
    token = get_object_or_404(ApiToken.objects.filter(clinic=request.clinic), public_id=public_id)
    services.revoke_api_token(token, context=audit_context(request))
    messages.success(request, _("The token was revoked. Requests with it are refused from now on."))
    return redirect("tokens", clinic_slug)
