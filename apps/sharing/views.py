"""The sharer's pages: make a link, see all links and who used them, change one, take one or many back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import Principal, authorise, principal_of
from apps.accounts.roles import Capability
from apps.billing.errors import LimitReachedError
from apps.deidentification.services import copy_of_link
from apps.links.errors import LinkRefusedError
from apps.sharing import services
from apps.sharing.errors import SharingError
from apps.sharing.forms import ExtendForm, FilterForm, ShareForm
from apps.sharing.models import ShareLink
from apps.sharing.qr import qr_code
from apps.studies.models import Study

LINKS_A_PAGE = 50
VISITS_A_PAGE = 20


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
                made = services.share(principal, [study, *form.chosen], **form.wishes())
            except (LimitReachedError, LinkRefusedError, SharingError) as error:
                form.add_error(None, str(error))
                status = 409
            else:
                return _show_once(request, study, made)
    return render(request, "sharing/create.html", {"form": form, "study": study}, status=status)


def _show_once(request: HttpRequest, study: Study, made: services.Shared) -> HttpResponse:
    url = request.build_absolute_uri(reverse("share-landing", args=[made.token]))
    context = {"study": study, "share": made.share, "url": url, "pin": made.pin, "qr_code": qr_code(url)}
    return render(request, "sharing/created.html", context)


@require_safe
def link_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List the clinic's links: all for who may manage them, else one's own (SHARE-08)."""
    chosen = _filters(request)
    authorise(request, Capability.LINK_CREATE, verb="link.listed", details={"fields": sorted(chosen)})
    shares = services.shares_seen_by(principal_of(request), **chosen)
    page = Paginator(shares, LINKS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "filters": chosen,
        "whose": _whose(list(page.object_list), chosen),
    }
    return render(request, "sharing/link_list.html", context)


@require_POST
def links_revoke(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Take back all links of a study, a patient, a person, or all that one may see, at once."""
    chosen = _filters(request)
    authorise(request, Capability.LINK_CREATE, verb="link.listed", details={"fields": sorted(chosen)})
    count = services.revoke_all(principal_of(request), **chosen)
    messages.success(
        request,
        ngettext("%(count)d link is revoked.", "%(count)d links are revoked.", count) % {"count": count},
    )
    query = f"?{urlencode(chosen)}" if chosen else ""
    return redirect(reverse("links", args=[clinic_slug]) + query)


def _filters(request: HttpRequest) -> dict[str, str]:
    form = FilterForm(request.GET if request.method != "POST" else request.POST)
    if not form.is_valid():
        raise BadRequest(_("This is not a filter of the list."))
    return {name: value for name, value in form.cleaned_data.items() if value}


def _whose(shares: list[ShareLink], chosen: dict[str, str]) -> str:
    """Return whose links a narrowed list shows, in words; "" when it shows none or is not narrowed."""
    if not shares:
        return ""
    if maker := chosen.get("maker"):
        person = shares[0].link.created_by
        return (person.name or person.email) if person and person.public_id == maker else ""
    studies = list(shares[0].studies.all())
    return studies[0].patient.readable_name if studies and chosen else ""


@require_safe
def link_detail(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Show one link, and everything that was done with it and with those passed on from it."""
    share = _share(request, link_id)
    authorise(request, Capability.LINK_CREATE, share, verb="link.viewed")
    children = list(services.children_of(share))
    family = [share, *children]
    context = {
        "share": share,
        "children": children,
        "visits": services.visits_of(family, request.GET.get("page"), VISITS_A_PAGE),
        "refusals": services.refusals_of(family),
        "form": ExtendForm(),
        "copy": copy_of_link(share.link) if share.is_anonymised else None,
    }
    return render(request, "sharing/link_detail.html", context)


@require_POST
def link_revoke(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Take a link back."""
    return _change(
        request,
        clinic_slug,
        link_id,
        services.revoke,
        gettext_lazy("The link is revoked. Whoever has it open sees nothing more."),
    )


@require_POST
def link_pause(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Close a link for a while."""
    said = gettext_lazy("The link is paused. Nobody sees anything until you open it again.")
    return _change(request, clinic_slug, link_id, services.pause, said)


@require_POST
def link_resume(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Open a paused link again."""
    return _change(request, clinic_slug, link_id, services.resume, gettext_lazy("The link opens again."))


@require_POST
def link_extend(request: HttpRequest, clinic_slug: str, link_id: str) -> HttpResponse:
    """Give a link more time, or less."""
    form = ExtendForm(request.POST)
    _share(request, link_id)
    if not form.is_valid():
        messages.error(request, _("Choose one of the durations."))
        return redirect("link-detail", clinic_slug, link_id)
    lifetime = timedelta(days=form.cleaned_data["lifetime_days"])
    return _change(
        request,
        clinic_slug,
        link_id,
        lambda principal, share: services.extend(principal, share, lifetime),
        gettext_lazy("The link ends at another time now."),
    )


def _change(
    request: HttpRequest,
    clinic_slug: str,
    link_id: str,
    act: Callable[[Principal, ShareLink], None],
    said: str | Promise,
) -> HttpResponse:
    try:
        act(principal_of(request), _share(request, link_id))
    except (LimitReachedError, LinkRefusedError) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, str(said))
    return redirect("link-detail", clinic_slug, link_id)


def _share(request: HttpRequest, link_id: str) -> ShareLink:
    return get_object_or_404(services.shares_seen_by(principal_of(request)), link__public_id=link_id)
