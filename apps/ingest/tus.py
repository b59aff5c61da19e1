"""tus 1.0 (https://tus.io/protocols/resumable-upload) with creation-with-upload, checksum, expiration, termination.

A thin shell: what a piece is, and what of it is kept, is apps.ingest.transfers' business.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.shortcuts import get_object_or_404
from django.utils.http import http_date

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.ingest import queries, services
from apps.ingest import transfers as pieces
from apps.ingest.doors import Entrance
from apps.ingest.errors import IngestError
from apps.ingest.models import Transfer
from apps.ingest.sending import refusal
from apps.storage.errors import StorageError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,expiration,termination"
CHUNK_BYTES: Final = 256 * 1024
_BODY_TYPE: Final = "application/offset+octet-stream"
_ALGORITHMS: Final[Mapping[str, int]] = {"sha1": 20, "sha256": 32}
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class BadTusRequestError(IngestError):
    """A request that tus 1.0 does not know."""

    code = "bad-request"
    status = HTTPStatus.BAD_REQUEST


def transfers(request: HttpRequest, entrance: Entrance) -> HttpResponse:
    """OPTIONS: say what is understood. POST: begin a file, with its first bytes where the request brings them."""
    method = _method(request)
    if method == "OPTIONS":
        return _answer(HTTPStatus.NO_CONTENT, **_ABILITIES, **{"Tus-Max-Size": str(settings.MAX_ARCHIVE_BYTES)})
    if method != "POST":
        return _not_allowed("OPTIONS, POST")
    if refused := _other_version(request):
        return refused
    try:
        return _create(request, entrance)
    except (IngestError, StorageError) as error:
        _drain(request)
        return _refuse(error)


def transfer(request: HttpRequest, entrance: Entrance, transfer_id: str) -> HttpResponse:
    """HEAD: say how much is there. PATCH: take the next piece. DELETE: throw it away."""
    handlers = {"HEAD": _head, "PATCH": _patch, "DELETE": _delete}
    method = _method(request)
    if method == "OPTIONS":
        return _answer(HTTPStatus.NO_CONTENT, **_ABILITIES, **{"Tus-Max-Size": str(settings.MAX_ARCHIVE_BYTES)})
    # First of all: what is not there answers nothing else.
    found = get_object_or_404(
        queries.own_transfers(entrance.principal).select_related("batch", "clinic"), public_id=transfer_id
    )
    if method not in handlers:
        return _not_allowed("OPTIONS, HEAD, PATCH, DELETE")
    if refused := _other_version(request):
        return refused
    try:
        return handlers[method](request, entrance, found)
    except (IngestError, StorageError) as error:
        _drain(request)
        return _refuse(error)


def _create(request: HttpRequest, entrance: Entrance) -> HttpResponse:
    principal = entrance.principal
    about = _metadata(request.headers.get("Upload-Metadata", ""))
    batch = queries.own_batches(principal).filter(public_id=about.get("batch", "")).first()
    if batch is None:
        raise Http404
    services.check_open(principal, batch)
    key, fingerprint = about.get("key", ""), about.get("fingerprint", "")
    client_key = key if _KEY.fullmatch(key) else None
    length_bytes = _number(request.headers.get("Upload-Length"))
    begun = pieces.begun_before(batch, client_key, length_bytes)
    if begun is None:
        authorise(request, Capability.UPLOAD_CREATE, None, verb="upload.requested", details={"source": "tus"})
        begun = pieces.begin(
            principal,
            batch,
            length_bytes=length_bytes,
            name=about.get("filename", ""),
            client_key=client_key,
            fingerprint=fingerprint if _FINGERPRINT.fullmatch(fingerprint) else "",
        )
    location = entrance.url("tus-file", transfer_id=begun.public_id)
    if request.content_type == _BODY_TYPE:
        try:
            begun = pieces.append(principal, begun, 0, _chunks(request), checksum=_checksum(request))
        except IngestError as error:
            # The file is begun all the same: the next request goes on where this one got to.
            if error.code in ("limit-reached", "too-large"):
                raise
            _drain(request)
            begun.refresh_from_db()
    return _answer(HTTPStatus.CREATED, Location=location, **_where(begun))


def _head(request: HttpRequest, entrance: Entrance, found: Transfer) -> HttpResponse:
    if found.is_expired:
        return _answer(HTTPStatus.GONE)
    return _answer(HTTPStatus.OK, **_where(found), **{"Upload-Length": str(found.length_bytes)})


def _patch(request: HttpRequest, entrance: Entrance, found: Transfer) -> HttpResponse:
    if request.content_type != _BODY_TYPE:
        return _answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    offset = _number(request.headers.get("Upload-Offset"))
    services.check_open(entrance.principal, found.batch)
    found = pieces.append(entrance.principal, found, offset, _chunks(request), checksum=_checksum(request))
    return _answer(HTTPStatus.NO_CONTENT, **_where(found))


def _delete(request: HttpRequest, entrance: Entrance, found: Transfer) -> HttpResponse:
    if found.upload_id is not None:
        return _answer(HTTPStatus.FORBIDDEN)
    pieces.cancel(entrance.principal, found)
    return _answer(HTTPStatus.NO_CONTENT)


def _where(transfer: Transfer) -> dict[str, str]:
    headers = {"Upload-Offset": str(transfer.offset_bytes)}
    if not transfer.is_complete:
        headers["Upload-Expires"] = http_date(transfer.expires_at.timestamp())
    return headers


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    left = _number(request.headers.get("Content-Length") or "0")
    try:
        while chunk := request.read(CHUNK_BYTES):
            left -= len(chunk)
            yield chunk
    except (UnreadablePostError, OSError) as error:
        raise pieces.BrokenOffError from error
    if left > 0:
        # Some servers end the body where the line broke, and say nothing.
        raise pieces.BrokenOffError


def _drain(request: HttpRequest) -> None:
    """Read what is left of a piece that is not taken: a browser that is still sending would not hear why."""
    with suppress(IngestError):
        for _chunk in _chunks(request):
            pass


def _checksum(request: HttpRequest) -> pieces.Checksum | None:
    header = request.headers.get("Upload-Checksum", "")
    if not header:
        return None
    algorithm, _space, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadTusRequestError from error
    if len(digest) != _ALGORITHMS.get(algorithm):
        raise BadTusRequestError
    return pieces.Checksum(algorithm, digest)


def _metadata(header: str) -> dict[str, str]:
    """Return the pairs of Upload-Metadata; what is not UTF-8 in Base64 is left out."""
    pairs: dict[str, str] = {}
    for pair in header.split(","):
        name, _space, encoded = pair.strip().partition(" ")
        try:
            pairs[name] = base64.b64decode(encoded, validate=True).decode()
        except ValueError:
            continue
    return pairs


def _number(header: str | None) -> int:
    if header is None or not header.isascii() or not header.isdigit() or len(header) > 18:
        raise BadTusRequestError
    return int(header)


def _method(request: HttpRequest) -> str:
    return (request.headers.get("X-HTTP-Method-Override") or request.method or "").upper()


def _other_version(request: HttpRequest) -> HttpResponse | None:
    if request.headers.get("Tus-Resumable") == VERSION:
        return None
    return _answer(HTTPStatus.PRECONDITION_FAILED, **{"Tus-Version": VERSION})


_ABILITIES: Final = {
    "Tus-Version": VERSION,
    "Tus-Extension": EXTENSIONS,
    "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
}


def _refuse(error: IngestError | StorageError) -> HttpResponse:
    response = refusal(error)
    response["Tus-Resumable"] = VERSION
    return response


def _not_allowed(allowed: str) -> HttpResponse:
    return _answer(HTTPStatus.METHOD_NOT_ALLOWED, Allow=allowed)


def _answer(status: int, **headers: str) -> HttpResponse:
    response = HttpResponse(status=status)
    response["Tus-Resumable"] = VERSION
    for name, value in headers.items():
        response[name] = value
    return response
