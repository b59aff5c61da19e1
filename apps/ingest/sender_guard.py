"""What stands before every page under `/w/<link_id>/`: the link itself, and nobody who may be signed in beside it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Final

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from apps.clinics.scoping import clinic_scope
from apps.ingest import requests
from apps.links.visitors import CsrfWithoutReferer, keep_private

View = Callable[..., HttpResponseBase]

_SAFE: Final = ("GET", "HEAD", "OPTIONS", "TRACE")


def sender_page(view: View) -> View:
    """Decorate a view under `/w/<link_id>/`: it gets `request.principal`, `.clinic` and `.upload_request`.

    The clinic's scope is open while the view runs. A request that changes something needs the token of our page in
    X-CSRFToken, or, from a form, in its field; bodies of files are not read for it. Every answer, refusals too, is kept
    out of caches, search engines and Referer headers.
    """

    @csrf_exempt
    @functools.wraps(view)
    def guarded(request: HttpRequest, link_id: str, **kwargs: str) -> HttpResponseBase:
        try:
            principal, row = requests.sender_of(request, link_id)
            if request.method not in _SAFE and (refusal := _check_origin(request, view)) is not None:
                return keep_private(refusal)
            request.principal = principal  # type: ignore[attr-defined]
            request.clinic = principal.clinic  # type: ignore[attr-defined]
            request.upload_request = row  # type: ignore[attr-defined]
            with clinic_scope(principal.clinic):
                return keep_private(view(request, link_id=link_id, **kwargs))
        except Http404:
            return not_available(request)

    return guarded


def _check_origin(request: HttpRequest, view: View) -> HttpResponseBase | None:
    """Return Django's refusal of a request that no page of ours sent, None for one of ours."""
    asked = request
    if request.content_type != "application/x-www-form-urlencoded":
        # By the header alone: else the check would receive whole files before anybody has asked what they are.
        asked = copy.copy(request)
        asked.method = "PUT"
    refusal: HttpResponseBase | None = CsrfWithoutReferer(view).process_view(asked, view, (), {})
    if refusal is None:
        # The views behind it look again, and would take the missing origin of such a page for a foreign one.
        request.csrf_processing_done = True  # type: ignore[attr-defined]
    return refusal


def not_available(request: HttpRequest) -> HttpResponseBase:
    """Return the one page for a link that opens nothing, whatever the reason (SHARE-14)."""
    return keep_private(render(request, "ingest/request_not_available.html", status=404))
