"""Names the record behind each answer; without a record there is no answer."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.accounts.services import unrecorded
from apps.audit.errors import AuditUnavailableError


class AuditMiddleware:
    """Adds X-Audit-Id; answers 503 when something could not be recorded (AUD-01, AUD-02)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Name the event that `apps.access.services` stamped on the request."""
        response = self.get_response(request)
        audit_id = getattr(request, "audit_id", None)
        if audit_id is not None:
            response["X-Audit-Id"] = audit_id
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Turn AuditUnavailableError into 503; everything else goes its way."""
        return unrecorded(request) if isinstance(exception, AuditUnavailableError) else None
