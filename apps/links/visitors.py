"""Somebody with a link and no account: who they are in the trail, what answers carry, how forms are checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.decorators import decorator_from_middleware
from django.views.decorators.csrf import csrf_exempt

from apps.accounts.services import client_address
from apps.audit.services import Context

View = Callable[..., HttpResponseBase]


def visitor_context(request: HttpRequest) -> Context:
    """Return who asks outside any session of ours: an address and a browser, whoever may be signed in there."""
    return Context(
        actor_kind="anonymous",
        remote_addr=client_address(request),
        user_agent=request.headers.get("User-Agent", "")[:300],
        request_id=getattr(request, "request_id", ""),
    )


def keep_private(response: HttpResponseBase) -> HttpResponseBase:
    """Add what every answer about a link carries (SHARE-11, SHARE-13), and return it."""
    response.headers.setdefault("Cache-Control", "no-store")
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


class CsrfWithoutReferer(CsrfViewMiddleware):
    """Django's check, but "Origin: null" does not fail it.

    With `Referrer-Policy: no-referrer` browsers name "null" as the origin of our own form (Fetch, "append a request
    `Origin` header"). The token in the form is still compared with the one in the cookie, and Sec-Fetch-Site, which
    every current browser sends and no page can set, must not name another site.
    """

    def _origin_verified(self, request: HttpRequest) -> bool:
        if request.META["HTTP_ORIGIN"] != "null":
            return bool(super()._origin_verified(request))  # type: ignore[misc]
        return request.headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")


_check: Any = decorator_from_middleware(CsrfWithoutReferer)


def csrf_protected_without_referer(view: View) -> View:
    """Decorate a view with this check instead of the middleware's."""
    checked: View = _check(view)
    return csrf_exempt(checked)
