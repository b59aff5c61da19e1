"""The clinic's pages of upload requests: make one, see all and what they brought, lengthen one, take one back."""

from __future__ import annotations

import segno
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.billing.errors import LimitReachedError
from apps.ingest import queries, requests
from apps.ingest.models import UploadRequest
from apps.ingest.request_forms import GIGABYTE, LifetimeForm, UploadRequestForm
from apps.links import services as links
from apps.links.errors import LinkRefusedError

ROWS_ON_A_PAGE = 50
BATCHES_SHOWN = 50


@require_safe
def request_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List the upload requests: all of the clinic for who may manage links, else one's own."""
    authorise(request, Capability.REQUEST_CREATE, verb="link.listed")
    principal = principal_of(request)
    page = Paginator(requests.requests_seen_by(principal), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "ingest/requests.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
def request_create(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Ask whom the request is for, then show the link and its PIN this once."""
    form = UploadRequestForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            chosen = form.cleaned_data
            try:
                made = requests.create_request(
                    principal_of(request),
                    title=chosen["title"],
                    note=chosen["note"],
                    lifetime=form.lifetime,
                    has_pin=chosen["has_pin"],
                    max_uses=chosen["max_uses"],
                    max_files=chosen["max_files"],
                    max_bytes=chosen["max_gigabytes"] * GIGABYTE,
                    is_mail_wanted=chosen["is_mail_wanted"],
                )
            except (LimitReachedError, LinkRefusedError) as error:
                form.add_error(None, str(error))
                status = 409
            else:
                return _show_once(request, made)
    return render(request, "ingest/request_create.html", {"form": form}, status=status)


def _show_once(request: HttpRequest, made: requests.MadeRequest) -> HttpResponse:
    url = request.build_absolute_uri(reverse("request-landing", args=[made.token]))
    code = segno.make(url, error="m", micro=False)
    context = {
        "made": made.request,
        "url": url,
        "pin": made.pin,
        # As a data: image it needs no markup of ours to be trusted.
        "qr_code": code.svg_data_uri(scale=5, border=3, dark="#000", light="#fff"),
    }
    return render(request, "ingest/request_created.html", context)


@require_safe
def request_detail(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Show one request: its limits, how much of them is used, and what it brought."""
    found = _request(request, link_id)
    authorise(request, Capability.REQUEST_CREATE, found, verb="link.viewed")
    batches = queries.recent_batches(found.batches.all())[:BATCHES_SHOWN]
    context = {
        "asked": found,
        "batches": batches,
        "waiting_count": found.waiting_studies.filter(state="waiting").count(),
        "form": LifetimeForm(),
    }
    return render(request, "ingest/request_detail.html", context)


@require_POST
def request_extend(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Let a request hold for so long from now on."""
    found = _request(request, link_id)
    form = LifetimeForm(request.POST)
    if form.is_valid():
        try:
            links.extend(found.link, form.lifetime, context=principal_of(request).context)
            messages.success(request, _("The link holds longer now."))
        except (LimitReachedError, LinkRefusedError) as error:
            messages.error(request, str(error))
    return redirect("upload-request", clinic_slug, link_id)


@require_POST
def request_revoke(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Take a request back."""
    links.revoke(_request(request, link_id).link, context=principal_of(request).context)
    messages.success(request, _("The link is revoked. Nothing more can be sent by it; what has arrived stays."))
    return redirect("upload-request", clinic_slug, link_id)


def _request(request: HttpRequest, link_id: str) -> UploadRequest:
    return get_object_or_404(requests.requests_seen_by(principal_of(request)), link__public_id=link_id)
