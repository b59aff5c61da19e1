"""The recipient's pages: a landing page that says nothing about anybody, and, once opened, the studies."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.links import services as links
from apps.links.errors import LinkRefusedError, LinkUnavailableError, TooManyAttemptsError, WrongPinError
from apps.links.models import Factor, Link
from apps.links.visitors import csrf_protected_without_referer
from apps.sharing import services
from apps.sharing.forms import AnswerForm

_SEND = "send-code"


@csrf_protected_without_referer
@require_http_methods(["GET", "HEAD", "POST"])
def landing(request: HttpRequest, token: str) -> HttpResponseBase:
    """Say that a clinic shared images, and open the link when the person asks for it (POST), never before.

    Mail scanners and chat previews fetch this page: it counts no view, names nobody, sends no code and sets no cookie
    of the link.
    """
    context = services.visitor_context(request)
    error: Exception | None = None
    status = 200
    is_sent = False
    form = AnswerForm(request.POST or None)
    said = form.cleaned_data if form.is_bound and form.is_valid() else {}
    try:
        if request.method == "POST":
            try:
                if _SEND in request.POST:
                    links.send_code(token, services.KIND, context=context)
                    is_sent = True
                else:
                    return _enter(services.open_share(token, said.get("pin", ""), context=context, **_who(said)))
            except WrongPinError as wrong:
                error, status = wrong, 403
            except TooManyAttemptsError as many:
                error, status = many, 429
            except LinkRefusedError as refused:
                error, status = refused, 400
        link = links.find(token, services.KIND, context=context)
    except LinkUnavailableError:
        return services.not_available(request)
    return _ask(request, link, said, error, status=status, is_sent=is_sent)


def _who(said: dict[str, str]) -> dict[str, str]:
    return {name: said.get(name, "") for name in ("recipient", "purpose")}


def _ask(
    request: HttpRequest, link: Link, said: dict[str, str], error: Exception | None, *, status: int, is_sent: bool
) -> HttpResponseBase:
    page = render(
        request,
        "sharing/landing.html",
        {
            "factor": link.factor,
            "asks_recipient": services.asks_of(link),
            "said": _who(said),
            "error": error,
            # A code that was just asked for, or one typed wrong, wants the field; a first look wants the button.
            "is_sent": is_sent or isinstance(error, WrongPinError) or (request.method == "POST" and error is not None),
            "was_sent_now": is_sent,
            "is_mail_code": link.factor == Factor.MAIL_CODE,
        },
        status=status,
    )
    if isinstance(error, TooManyAttemptsError):
        page["Retry-After"] = str(error.retry_after_seconds)
    return services.keep_private(page)


def _enter(opened: links.OpenedLink) -> HttpResponseBase:
    reference = opened.link.public_id
    # Straight to the pictures where there is nothing to choose: a way round costs a slow line a tenth of a second.
    study = services.only_study_of(opened.link)
    url = (
        reverse("share-viewer", args=[reference, study.public_id]) if study else reverse("share-home", args=[reference])
    )
    response = HttpResponseRedirect(url)
    response.status_code = 303
    # Without Max-Age it goes with the browser; the server ends it earlier. The path must be "/" for the __Host- prefix.
    response.set_cookie(
        services.cookie_name(reference), opened.secret, path="/", secure=settings.SECURE, httponly=True, samesite="Lax"
    )
    return services.keep_private(response)


@require_safe
@services.recipient_page
def share_home(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Show what the link holds; a single study with nothing to say or to take along opens at once."""
    share = request.share  # type: ignore[attr-defined]
    studies = list(services.visible_studies(share).select_related("patient").order_by("-study_date", "-pk"))
    principal = request.principal  # type: ignore[attr-defined]
    may_download = Capability.STUDY_DOWNLOAD in principal.capabilities
    if len(studies) == 1 and not (share.note or may_download or share.may_pass_on):
        return redirect("share-viewer", link_id, studies[0].public_id)
    authorise(request, Capability.STUDY_SEARCH, verb="study.listed", details={"study_count": len(studies)})
    context = {"share": share, "studies": studies, "link_id": link_id, "may_download": may_download}
    return render(request, "sharing/home.html", context)


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
