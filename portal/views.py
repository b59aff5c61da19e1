"""Health, and the error pages: a plain sentence and the request's number, nothing else."""

from __future__ import annotations

import logging
import shutil
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

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


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: the request could not be understood."""
    return render(request, "400.html", status=400)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form is stale or came from elsewhere."""
    return render(request, "403.html", {"is_stale_form": True}, status=403)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: signed in, but the role does not include this."""
    return render(request, "403.html", {"sentence": str(exception or "")}, status=403)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: the same for what is not there and for what is somebody else's."""
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our fault; the number on the page finds the log line."""
    return render(request, "500.html", status=500)
