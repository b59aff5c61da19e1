"""The people of a clinic, for its owners."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts import invitations
from apps.accounts import members as services
from apps.accounts.addresses import audit_context
from apps.accounts.errors import AlreadyMemberError, LastOwnerError
from apps.accounts.forms import GrantForm, InviteForm, RoleForm
from apps.accounts.models import Grant, Membership
from apps.accounts.roles import Role
from apps.accounts.routing import ClinicRequest
from apps.billing.errors import LimitReachedError


@require_GET
def members(request: ClinicRequest, clinic_slug: str) -> HttpResponse:
    """List the clinic's people and its open invitations."""
    return _render_members(request, InviteForm())


@require_POST
def invite(request: ClinicRequest, clinic_slug: str) -> HttpResponse:
    """Send an invitation."""
    form = InviteForm(request.POST)
    if form.is_valid():
        try:
            invitations.invite_by_mail(
                request.clinic,
                form.cleaned_data["email"],
                Role(form.cleaned_data["role"]),
                is_limited=form.cleaned_data["is_limited"],
                invited_by=request.user,
                context=audit_context(request),
            )
        except (AlreadyMemberError, LimitReachedError) as error:
            form.add_error("email", str(error))
        else:
            messages.success(request, _("The invitation is on its way."))
            return redirect("members", clinic_slug)
    return _render_members(request, form)


@require_POST
def withdraw_invitation(request: ClinicRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Take an open invitation back."""
    found = get_object_or_404(invitations.open_invitations(request.clinic), public_id=public_id)
    invitations.withdraw(found, context=audit_context(request))
    messages.success(request, _("The invitation was withdrawn."))
    return redirect("members", clinic_slug)


@require_http_methods(["GET", "POST"])
def member(request: ClinicRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show one person's place, and change it."""
    membership = _member(request, public_id)
    form = RoleForm(request.POST or None, initial={"role": membership.role, "is_limited": membership.is_limited})
    if request.method == "POST" and form.is_valid():
        try:
            services.change_role(
                membership,
                Role(form.cleaned_data["role"]),
                is_limited=form.cleaned_data["is_limited"],
                context=audit_context(request),
            )
        except LastOwnerError as error:
            form.add_error("role", str(error))
        else:
            messages.success(request, _("The role was changed. It holds from now on."))
            return redirect("member", clinic_slug, public_id)
    return _render_member(request, membership, form, GrantForm())


@require_POST
def remove_member(request: ClinicRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Take a person's place in the clinic away."""
    try:
        services.remove_member(_member(request, public_id), context=audit_context(request))
    except LastOwnerError as error:
        messages.error(request, str(error))
        return redirect("member", clinic_slug, public_id)
    messages.success(request, _("This person is no longer a member of the clinic."))
    return redirect("members", clinic_slug)


@require_POST
def add_grant(request: ClinicRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Let a limited member see the patient or study whose page's address was pasted."""
    membership = _member(request, public_id)
    form = GrantForm(request.POST)
    if form.is_valid():
        address = form.cleaned_data["address"]
        if services.grant_page(membership, address, context=audit_context(request)) is not None:
            messages.success(request, _("This person can see it now."))
            return redirect("member", clinic_slug, public_id)
        form.add_error("address", _("This is not the address of a patient or study page of this clinic."))
    role_form = RoleForm(initial={"role": membership.role, "is_limited": membership.is_limited})
    return _render_member(request, membership, role_form, form)


@require_POST
def remove_grant(request: ClinicRequest, clinic_slug: str, public_id: str, reference: str) -> HttpResponse:
    """Take one patient or study away from a limited member."""
    grant = Grant.objects.filter(membership=_member(request, public_id), reference=reference).first()
    if grant is None:
        raise Http404
    services.remove_grant(grant, context=audit_context(request))
    messages.success(request, _("This person cannot see it any more."))
    return redirect("member", clinic_slug, public_id)


def _member(request: ClinicRequest, public_id: str) -> Membership:
    rows = Membership.objects.select_related("user", "clinic").filter(clinic=request.clinic)
    return get_object_or_404(rows, public_id=public_id)


def _render_members(request: ClinicRequest, form: InviteForm) -> HttpResponse:
    context = {
        "form": form,
        "members": Membership.objects.filter(clinic=request.clinic).select_related("user").order_by("user__name"),
        "invitations": invitations.open_invitations(request.clinic).order_by("email"),
    }
    return render(request, "accounts/members.html", context, status=_status(form))


def _render_member(
    request: ClinicRequest, membership: Membership, form: RoleForm, grant_form: GrantForm
) -> HttpResponse:
    context = {
        "member": membership,
        "form": form,
        "grant_form": grant_form,
        "grants": membership.grants.order_by("kind", "created_at"),
    }
    return render(request, "accounts/member.html", context, status=_status(form, grant_form))


def _status(*forms: InviteForm | RoleForm | GrantForm) -> int:
    has_errors = any(form.is_bound and form.errors for form in forms)
    return HTTPStatus.UNPROCESSABLE_ENTITY if has_errors else HTTPStatus.OK
