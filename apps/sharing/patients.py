"""The pages of a patient's own link: who opened it, and links of hers that she passes on, pauses and takes back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import Principal, authorise
from apps.accounts.roles import Capability
from apps.audit.models import AuditEvent
from apps.billing.errors import LimitReachedError
from apps.exports.services import receipt_response
from apps.links.errors import LinkRefusedError
from apps.links.visitors import csrf_protected_without_referer
from apps.sharing import services
from apps.sharing.forms import PassOnForm
from apps.sharing.models import ShareLink
from apps.sharing.qr import qr_code

VISITS_A_PAGE = 20


@require_safe
@services.recipient_page
def share_visits(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Show the patient who opened her link and those she passed on, and what they looked at."""
    share = _own(request)
    authorise(request, Capability.STUDY_SEARCH, verb="link.viewed")
    children = list(services.children_of(share))
    context = {
        "share": share,
        "link_id": link_id,
        "children": children,
        "visits": services.visits_of([share, *children], request.GET.get("page"), VISITS_A_PAGE),
        "refusals": services.refusals_of([share, *children]),
    }
    return render(request, "sharing/visits.html", context)


@require_safe
@services.recipient_page
def share_receipt(request: HttpRequest, link_id: str, event_id: str) -> HttpResponseBase:
    """Send the patient the signed receipt of a view through her link or one that she passed on."""
    share = _own(request)
    family = [share, *services.children_of(share)]
    rows = AuditEvent.objects.filter(
        clinic_id=share.clinic_id, actor_kind="link", actor_reference__in=[one.link.public_id for one in family]
    )
    event = get_object_or_404(rows, public_id=event_id)
    details = {"event_reference": event.public_id}
    authorise(request, Capability.STUDY_SEARCH, verb="receipt.issued", details=details)
    return receipt_response(event, share.clinic)


@csrf_protected_without_referer
@require_http_methods(["GET", "HEAD", "POST"])
@services.recipient_page
def share_pass_on(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Ask the patient for whom a link of hers is, then show it and its PIN this once."""
    share = _own(request)
    authorise(request, Capability.STUDY_SEARCH, verb="link.prepared")
    form = PassOnForm(request.POST or None, parent=share)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            wishes = form.cleaned_data
            try:
                made = services.pass_on(
                    share,
                    request.principal,  # type: ignore[attr-defined]
                    recipient=wishes["recipient"],
                    lifetime=timedelta(days=wishes["lifetime_days"]),
                    has_pin=wishes["has_pin"],
                    may_download=wishes.get("may_download", False),
                )
            except (LimitReachedError, LinkRefusedError) as error:
                form.add_error(None, str(error))
                status = 409
            else:
                url = request.build_absolute_uri(reverse("share-landing", args=[made.token]))
                context = {
                    "link_id": link_id,
                    "share": made.share,
                    "url": url,
                    "pin": made.pin,
                    "qr_code": qr_code(url),
                }
                return render(request, "sharing/passed_on.html", context)
    return render(request, "sharing/pass_on.html", {"form": form, "share": share, "link_id": link_id}, status=status)


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_child_revoke(request: HttpRequest, link_id: str, child_id: str) -> HttpResponseBase:
    """Take back a link that the patient passed on."""
    return _change(request, link_id, child_id, services.revoke)


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_child_pause(request: HttpRequest, link_id: str, child_id: str) -> HttpResponseBase:
    """Close a link that the patient passed on, for a while."""
    return _change(request, link_id, child_id, services.pause)


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_child_resume(request: HttpRequest, link_id: str, child_id: str) -> HttpResponseBase:
    """Open a paused link again."""
    return _change(request, link_id, child_id, services.resume)


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_end(request: HttpRequest, link_id: str) -> HttpResponse:
    """End the patient's own link, and with it all that she passed on."""
    services.revoke(request.principal, _own(request))  # type: ignore[attr-defined]
    return render(request, "sharing/ended.html")


def _change(
    request: HttpRequest, link_id: str, child_id: str, act: Callable[[Principal, ShareLink], None]
) -> HttpResponseBase:
    child = get_object_or_404(services.children_of(_own(request)), link__public_id=child_id)
    try:
        act(request.principal, child)  # type: ignore[attr-defined]
    except (LimitReachedError, LinkRefusedError) as error:
        messages.error(request, str(error))
    return redirect("share-visits", link_id)


def _own(request: HttpRequest) -> ShareLink:
    share: ShareLink = request.share  # type: ignore[attr-defined]
    if not share.may_pass_on:
        raise Http404
    return share
