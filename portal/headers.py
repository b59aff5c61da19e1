"""Headers that every answer carries, errors and refusals included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.sharing.services import keep_private

# What no page of ours uses, so that nothing that gets into one can (W3C Permissions Policy).
PERMISSIONS: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "geolocation", "gyroscope",
        "magnetometer", "microphone", "midi", "payment", "serial", "usb",
    )
)  # fmt: skip
# The addresses of share links and upload requests, those that no view answers too.
OF_LINKS: Final = ("/s/", "/v/", "/u/", "/w/")


class AnswerHeadersMiddleware:
    """Adds Permissions-Policy (WEB-02), and what keeps links out of caches, indexes and Referer headers (SHARE-13)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Stand outside everything that may refuse: a refusal tells of a link too."""
        response = self.get_response(request)
        response["Permissions-Policy"] = PERMISSIONS
        return keep_private(response) if request.path_info.startswith(OF_LINKS) else response
