"""Health, and the error pages: a plain sentence and the request's number, nothing else."""

from __future__ import annotations

import logging
import shutil
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from apps.accounts.services import rule_of
from apps.jobs.services import has_live_worker
from apps.storage import services as storage
from portal.celery import app

log = logging.getLogger(__name__)
MINIMUM_FREE_BYTES = 100 << 20


def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when this process can serve at all."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when database, storage, broker and a worker answer, else 503 and which does not."""
    parts = {
        "database": _answers(_ask_database),
        "storage": _answers(_ask_storage),
        "broker": _answers(_ask_broker),
        "worker": _answers(has_live_worker),
    }
    is_ready = all(parts.values())
    return JsonResponse(
        {"status": "ok" if is_ready else "unavailable", "parts": parts}, status=200 if is_ready else 503
    )


def _answers(ask: Any) -> bool:
    try:
        return bool(ask())
    except Exception:  # whatever fails, the answer is that this part does not answer
        log.warning("a part does not answer", exc_info=True)
        return False


def _ask_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone())


def _ask_storage() -> bool:
    is_writable = bool(storage.health()["is_ok"])
    return is_writable and shutil.disk_usage(settings.DATA_DIR).free > MINIMUM_FREE_BYTES


def _ask_broker() -> bool:
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)
    return True


def _failure(
    request: HttpRequest, status: int, code: str, message: str, context: dict[str, Any] | None = None
) -> HttpResponse:
    """Return the page of an error; programs, whose URLs declare it, get the code and the sentence as JSON."""
    match = request.resolver_match
    rule = rule_of(match.func) if match is not None else None
    if rule is not None and rule.api:
        return JsonResponse({"code": code, "message": message}, status=status)
    return render(request, f"{status}.html", context, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: the request could not be understood."""
    return _failure(request, 400, "bad-request", "The request could not be understood.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is stale or came from elsewhere."""
    return _failure(request, 403, "csrf", "The request carries no valid CSRF token.", {"is_stale_form": True})


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: signed in, but the role does not include this."""
    sentence = str(exception or "")
    return _failure(request, 403, "forbidden", sentence or "This is not allowed here.", {"sentence": sentence})


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: the same for what is not there and for what is somebody else's."""
    return _failure(request, 404, "not-found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our fault; the number on the page finds the log line."""
    return _failure(request, 500, "server-error", "The request failed for a reason of ours.")
