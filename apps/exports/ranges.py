"""Answer with a file or with the part that is missing of it (RFC 9110 section 14)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
Chunks = Callable[[int, int], Iterator[bytes]]


class UnsatisfiableRangeError(Exception):
    """No byte of the file lies in the range that was asked for."""

    code = "unsatisfiable-range"


def asked_range(request: HttpRequest, size_bytes: int, digest: str) -> tuple[int, int] | None:
    """Return the range asked for as (start, stop); None for the whole.

    Several ranges, a form that is not understood, and a range of what is no longer the same file (If-Range) give the
    whole, as the RFC allows. Raises UnsatisfiableRangeError.
    """
    found = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if found is None or (not found[1] and not found[2]):
        return None
    condition = request.headers.get("If-Range", "")
    if condition and condition != f'"{digest}"':
        return None
    if not found[1]:
        start, stop = max(0, size_bytes - int(found[2])), size_bytes
    else:
        start = int(found[1])
        stop = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
        if found[2] and int(found[2]) < start:
            return None
    if start >= size_bytes or start >= stop:
        raise UnsatisfiableRangeError
    return start, stop


def respond(
    request: HttpRequest,
    *,
    size_bytes: int,
    digest: str,
    chunks: Chunks,
    media_type: str,
    name: str,
) -> HttpResponseBase:
    """Return the file, or the range that was asked for; `chunks(start, stop)` makes the bytes."""
    try:
        asked = asked_range(request, size_bytes, digest)
    except UnsatisfiableRangeError:
        response: HttpResponseBase = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        response["Content-Range"] = f"bytes */{size_bytes}"
        return response
    start, stop = asked or (0, size_bytes)
    if request.method == "HEAD":
        response = HttpResponse(content_type=media_type)
    else:
        response = StreamingHttpResponse(chunks(start, stop), content_type=media_type)
    if asked is not None:
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    response["Content-Length"] = str(stop - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = f'"{digest}"'
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
