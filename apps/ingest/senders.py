"""The pages of somebody who was asked for images: a landing page that says nothing, and, once opened, one to send them.

Nothing of the clinic is to be seen here but its name and the note it wrote; what a sender is told of her files is that
they arrived.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.roles import Rule
from apps.ingest import requests
from apps.ingest.doors import Door
from apps.ingest.request_forms import OpenForm
from apps.ingest.sender_guard import not_available, sender_page
from apps.links import services as links
from apps.links.errors import LinkUnavailableError, TooManyAttemptsError, WrongPinError
from apps.links.visitors import csrf_protected_without_referer, keep_private, visitor_context

# Where senders send files from.
SENDER_DOOR: Final = Door(
    name="request", prefix="w/<str:link_id>/", rule=Rule.link(), store_name="request-store", guard=sender_page
)


@csrf_protected_without_referer
@require_http_methods(["GET", "HEAD", "POST"])
def landing(request: HttpRequest, token: str) -> HttpResponseBase:
    """Say that a clinic asks for images, and open the link when the person asks for it (POST), never before.

    Mail scanners and chat previews fetch this page: it counts no use, names nobody and sets no cookie of the link.
    """
    context = visitor_context(request)
    error: Exception | None = None
    status = 200
    try:
        if request.method != "POST":
            link = links.find(token, requests.KIND, context=context)
        else:
            form = OpenForm(request.POST)
            pin = form.cleaned_data["pin"] if form.is_valid() else ""
            try:
                return _enter(links.redeem(token, pin, requests.KIND, context=context))
            except WrongPinError as wrong:
                error, status = wrong, 403
            except TooManyAttemptsError as many:
                error, status = many, 429
            link = links.find(token, requests.KIND, context=context)
    except LinkUnavailableError:
        return not_available(request)
    values = {"form": OpenForm(), "has_pin": bool(link.pin_hash), "error": error}
    page = render(request, "ingest/request_landing.html", values, status=status)
    if isinstance(error, TooManyAttemptsError):
        page["Retry-After"] = str(error.retry_after_seconds)
    return keep_private(page)


def _enter(opened: links.OpenedLink) -> HttpResponseBase:
    reference = opened.link.public_id
    response = HttpResponseRedirect(reverse("request-home", args=[reference]))
    response.status_code = 303
    # Without Max-Age it goes with the browser; the server ends it earlier. The path must be "/" for the __Host- prefix.
    response.set_cookie(
        requests.cookie_name(reference), opened.secret, path="/", secure=settings.SECURE, httponly=True, samesite="Lax"
    )
    return keep_private(response)


@require_safe
@sender_page
def home(request: HttpRequest, link_id: str) -> HttpResponse:
    """Show the page that takes files: the note, what may still be sent, and nothing of anybody."""
    row = request.upload_request  # type: ignore[attr-defined]
    entrance = SENDER_DOOR.entrance(request, {"link_id": link_id})
    context = {
        "asked": row,
        "link_id": link_id,
        "left_files": max(row.max_files - row.file_count, 0),
        "left_bytes": max(row.max_bytes - row.received_bytes, 0),
        "upload_config": entrance.page_config(),
    }
    return render(request, "ingest/request_home.html", context)


@require_POST
@sender_page
def close(request: HttpRequest, link_id: str) -> HttpResponse:
    """End this browser's session of the link, on a computer that others use."""
    name = requests.cookie_name(link_id)
    links.close(link_id, request.COOKIES.get(name, ""), requests.KIND)
    response = render(request, "ingest/request_closed.html")
    response.delete_cookie(name, path="/", samesite="Lax")
    return response
