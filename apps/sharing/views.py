"""The sharer's pages: make a link, see all links and who used them, take one back."""

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
from apps.links.errors import LinkRefusedError
from apps.sharing import services
from apps.sharing.forms import ShareForm
from apps.sharing.models import ShareLink
from apps.studies.models import Study

LINKS_A_PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
def share_create(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask how to share a study, then show the link and its PIN this once."""
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    authorise(request, Capability.LINK_CREATE, study, verb="link.prepared")
    principal = principal_of(request)
    others = Study.objects.filter(patient=study.patient).exclude(pk=study.pk).order_by("-study_date", "-pk")
    form = ShareForm(request.POST or None, more_studies=[other for other in others if principal.may_see(other)])
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                made = services.share(
                    principal,
                    [study, *form.chosen],
                    note=form.cleaned_data["note"],
                    may_download=form.cleaned_data["may_download"],
                    lifetime=form.lifetime,
                    has_pin=form.cleaned_data["has_pin"],
                    max_views=form.cleaned_data["max_views"],
                )
            except (LimitReachedError, LinkRefusedError) as error:
                form.add_error(None, str(error))
                status = 409
            else:
                return _show_once(request, study, made)
    return render(request, "sharing/create.html", {"form": form, "study": study}, status=status)


def _show_once(request: HttpRequest, study: Study, made: services.Shared) -> HttpResponse:
    url = request.build_absolute_uri(reverse("share-landing", args=[made.token]))
    code = segno.make(url, error="m", micro=False)
    context = {
        "study": study,
        "share": made.share,
        "url": url,
        "pin": made.pin,
        # As a data: image it needs no markup of ours to be trusted.
        "qr_code": code.svg_data_uri(scale=5, border=3, dark="#000", light="#fff"),
    }
    return render(request, "sharing/created.html", context)


@require_safe
def link_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List the clinic's links: all for who may manage them, else one's own (SHARE-08)."""
    authorise(request, Capability.LINK_CREATE, verb="link.listed")
    shares = services.shares_seen_by(principal_of(request))
    page = Paginator(shares, LINKS_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "sharing/link_list.html", {"page": page})


@require_safe
def link_detail(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Show one link, and everything that was done with it."""
    share = _share(request, link_id)
    authorise(request, Capability.LINK_CREATE, share, verb="link.viewed")
    events = Paginator(services.views_of(share), LINKS_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "sharing/link_detail.html", {"share": share, "events": events})


@require_POST
def link_revoke(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Take a link back."""
    services.revoke(principal_of(request), _share(request, link_id))
    messages.success(request, _("The link is revoked. Whoever has it open sees nothing more."))
    return redirect("link-detail", clinic_slug, link_id)


def _share(request: HttpRequest, link_id: str) -> ShareLink:
    return get_object_or_404(services.shares_seen_by(principal_of(request)), link__public_id=link_id)
