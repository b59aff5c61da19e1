"""The recipient's pages: a landing page that says nothing about anybody, and, once opened, the studies."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.services import instances_of, study_zip, zip_name
from apps.links import services as links
from apps.links.errors import LinkUnavailableError, TooManyAttemptsError, WrongPinError
from apps.sharing import services
from apps.sharing.csrf import csrf_protected_without_referer
from apps.sharing.forms import PinForm


@csrf_protected_without_referer
@require_http_methods(["GET", "HEAD", "POST"])
def landing(request: HttpRequest, token: str) -> HttpResponseBase:
    """Say that a clinic shared images, and open the link when the person asks for it (POST), never before.

    Mail scanners and chat previews fetch this page: it counts no view, names nobody and sets no cookie of the link.
    """
    context = services.visitor_context(request)
    error: Exception | None = None
    status = 200
    try:
        if request.method != "POST":
            link = links.find(token, services.KIND, context=context)
        else:
            form = PinForm(request.POST)
            pin = form.cleaned_data["pin"] if form.is_valid() else ""
            try:
                return _enter(links.redeem(token, pin, services.KIND, context=context))
            except WrongPinError as wrong:
                error, status = wrong, 403
            except TooManyAttemptsError as many:
                error, status = many, 429
            link = links.find(token, services.KIND, context=context)
    except LinkUnavailableError:
        return services.not_available(request)
    page = render(
        request,
        "sharing/landing.html",
        {"form": PinForm(), "has_pin": bool(link.pin_hash), "error": error},
        status=status,
    )
    if isinstance(error, TooManyAttemptsError):
        page["Retry-After"] = str(error.retry_after_seconds)
    return services.keep_private(page)


def _enter(opened: links.OpenedLink) -> HttpResponseBase:
    reference = opened.link.public_id
    response = HttpResponseRedirect(reverse("share-home", args=[reference]))
    response.status_code = 303
    # Without Max-Age it goes with the browser; the server ends it earlier. The path must be "/" for the __Host- prefix.
    response.set_cookie(
        services.cookie_name(reference), opened.secret, path="/", secure=settings.SECURE, httponly=True, samesite="Lax"
    )
    return services.keep_private(response)


@require_safe
@services.recipient_page
def share_home(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Show what the link holds; a single study without a note opens at once."""
    share = request.share  # type: ignore[attr-defined]
    studies = list(share.studies.select_related("patient").order_by("-study_date", "-pk"))
    if len(studies) == 1 and not share.note and not share.may_download:
        return redirect("share-viewer", link_id, studies[0].public_id)
    authorise(request, Capability.STUDY_SEARCH, verb="study.listed", details={"study_count": len(studies)})
    return render(request, "sharing/home.html", {"share": share, "studies": studies, "link_id": link_id})


@require_safe
@services.recipient_page
def share_download(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send one study of the link as a ZIP, where the link allows it."""
    share = request.share  # type: ignore[attr-defined]
    study = get_object_or_404(share.studies.select_related("patient", "clinic"), public_id=public_id)
    details = {"format": "zip", "instance_count": study.number_of_study_related_instances}
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)
    documents = study.documents.select_related("study", "blob", "clinic").order_by("created_at", "pk")
    chunks = study_zip(instances_of([study]), documents)
    response = StreamingHttpResponse(services.while_shared(request, link_id, chunks), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{zip_name([study])}"'
    return response


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_close(request: HttpRequest, link_id: str) -> HttpResponse:
    """End this browser's session of the link, on a computer that others use."""
    name = services.cookie_name(link_id)
    links.close(link_id, request.COOKIES.get(name, ""), services.KIND)
    response = render(request, "sharing/closed.html")
    response.delete_cookie(name, path="/", samesite="Lax")
    return response
