"""Turns a part that does not answer into 503 with a sentence, and what nobody can look for into 400."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.storage.errors import StorageError
from portal.views import bad_request

log = logging.getLogger(__name__)
STORAGE_FAULTS = (StorageError, KeyUnavailableError, SealBrokenError)
DATABASE_FAULTS = (OperationalError, InterfaceError)


class FaultMiddleware:
    """Answers 503 when keys, storage or database cannot give what a page needs (ENC-09, F7, F10)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the 503 page for a fault of storage, keys or database, 400 for a value that no column holds."""
        if isinstance(exception, STORAGE_FAULTS):
            code, sentence = exception.code, _("The stored images cannot be read just now. Nothing was changed.")
        elif isinstance(exception, DataError):
            # A value that no column can hold, such as a NUL: SQLite finds nothing by it, PostgreSQL refuses to look.
            log.warning("the request holds a value that the database cannot")
            return bad_request(request, exception)
        elif isinstance(exception, DATABASE_FAULTS):
            code, sentence = "database-unavailable", _("The database does not answer just now. Nothing was changed.")
        else:
            return None
        log.error("a part does not answer", exc_info=exception, extra={"code": code})
        response = render(request, "503.html", {"fault": sentence}, status=HTTPStatus.SERVICE_UNAVAILABLE)
        response["Retry-After"] = "30"
        return response
