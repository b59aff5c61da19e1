"""Log lines as JSON with allow-listed fields; no bodies, no names, no tokens."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# A share link's or an invitation's token stands as one path segment behind these prefixes.
TOKEN_PATH = re.compile(r"/(s|u|invitation|reset|bootstrap)/[A-Za-z0-9_\-]{16,}")
FIELDS = ("request_id", "route", "method", "status", "milliseconds", "job", "kind", "count", "code")


def mask_tokens(text: str) -> str:
    """Return the text with the token of every one-time path replaced."""
    return TOKEN_PATH.sub(r"/\1/***", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the allow-listed extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; of an exception only its class and place, since its text may quote a file."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_tokens(record.getMessage()),
        }
        line.update({field: value for field in FIELDS if (value := getattr(record, field, None)) is not None})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            places = []
            while trace is not None:
                code = trace.tb_frame.f_code
                places.append(
                    f"{code.co_filename.rsplit('/', 3)[-2]}/{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
                )
                trace = trace.tb_next
            line["at"] = places[-6:]
        return json.dumps(line)


class RequestLogMiddleware:
    """Logs one line a request: the route's pattern, never its path, so that no token and no name is written."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.log = logging.getLogger("portal.requests")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on and log how it ended."""
        begun = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        self.log.info(
            "request",
            extra={
                "request_id": getattr(request, "request_id", None),
                "route": match.route if match else "-",
                "method": request.method,
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - begun) * 1000),
            },
        )
        return response
