"""Answers of the DICOMweb views: DICOM JSON, multipart, errors as small JSON, never a page."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from apps.access.services import Principal, principal_of
from apps.audit.errors import AuditUnavailableError
from apps.clinics.scoping import clinic_scope
from apps.deidentification.errors import CopyNotReadyError
from apps.dicom.errors import DicomError
from apps.dicomweb.errors import DicomwebError
from apps.dicomweb.multipart import closing, make_boundary, multipart_content_type, part_head, write_multipart
from apps.dicomweb.negotiation import APPLICATION_DICOM_JSON, MediaRange, acceptable
from apps.ingest.errors import IngestError
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.sharing.services import keep_private, link_principal
from apps.storage.errors import StorageError
from apps.studies.errors import NoThumbnailError

log = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
RECHECK_BYTES = 1 << 20
Watch = Callable[[Iterator[bytes]], Iterator[bytes]]


@dataclass(frozen=True)
class Caller:
    """Who asks, and what the URIs in the answer begin with.

    A browser gets absolute paths, which hold on whatever origin it is; a token's client has no origin and gets the
    installation's public address.
    """

    principal: Principal
    root: str
    recheck: Callable[[], object] | None = None

    def watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield chunks, asking again before each further MiB whether a share link still holds (SHARE-03).

        A link taken back ends the connection in the middle of the body.
        """
        if self.recheck is None:
            yield from chunks
            return
        sent_bytes = 0
        for chunk in chunks:
            if sent_bytes >= RECHECK_BYTES:
                self.recheck()
                sent_bytes = 0
            yield chunk
            sent_bytes += len(chunk)


View = Callable[Concatenate[HttpRequest, Caller, Arguments], HttpResponseBase]


def for_clinic(view: View[Arguments]) -> Callable[..., HttpResponseBase]:
    """Return the view as it stands under a clinic, for members and tokens."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, clinic_slug: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        def answer() -> HttpResponseBase:
            principal = principal_of(request)
            path = _root_of("dicomweb-studies", clinic_slug)
            root = settings.BASE_URL.rstrip("/") + path if principal.kind == "token" else path
            return view(request, Caller(principal, root), *args, **kwargs)

        return _guarded(answer)

    return wrapped


def for_link(view: View[Arguments]) -> Callable[..., HttpResponseBase]:
    """Return the view as it stands under a share link: the link alone is the principal, sessions are not looked at."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, link_id: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        def answer() -> HttpResponseBase:
            principal = link_principal(request, link_id)
            request.principal = principal  # type: ignore[attr-defined]
            path = _root_of("dicomweb-link-studies", link_id)
            caller = Caller(principal, path, recheck=lambda: link_principal(request, link_id))
            with clinic_scope(principal.clinic, edition=principal.edition):
                return view(request, caller, *args, **kwargs)

        return keep_private(_guarded(answer))

    return wrapped


def for_sender(view: View[Arguments]) -> Callable[..., HttpResponseBase]:
    """Return the view as it stands behind an upload request, whose guard has said who acts (ingest's `sender_page`)."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, link_id: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        path = _root_of("request-store", link_id)
        return _guarded(lambda: view(request, Caller(principal_of(request), path), *args, **kwargs))

    return wrapped


@functools.lru_cache(maxsize=1024)
def _root_of(name: str, owner: str) -> str:
    return reverse(name, args=[owner]).removesuffix("/studies")


def _guarded(answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    try:
        return answer()
    except DicomwebError as error:
        return error_response(error.status, error.code, error.message)
    except DicomError as error:
        return error_response(
            _STATUS_OF_CODE.get(error.code.value, HTTPStatus.NOT_ACCEPTABLE), error.code, error.message
        )
    except IngestError as error:
        return error_response(error.status, error.code, str(error.message))
    except CopyNotReadyError as error:
        return error_response(HTTPStatus.CONFLICT, error.code, str(error))
    except (StorageError, KeyUnavailableError, SealBrokenError) as error:
        log.error("stored bytes cannot be had: %s", error.code)
        return error_response(_STATUS_OF_CODE.get(error.code, HTTPStatus.SERVICE_UNAVAILABLE), error.code, str(error))
    except AuditUnavailableError:
        response = error_response(
            HTTPStatus.SERVICE_UNAVAILABLE, "audit-unavailable", "This could not be recorded, so it was not done."
        )
        response["Retry-After"] = "5"
        return response
    except (Http404, NoThumbnailError):
        return error_response(HTTPStatus.NOT_FOUND, "not-found", "There is nothing here.")
    except (PermissionDenied, PermissionError):
        return error_response(HTTPStatus.FORBIDDEN, "forbidden", "This is not allowed here.")


# What differs from the rule: an instance that cannot give what is asked is 406, storage that cannot is 503.
_STATUS_OF_CODE: dict[str, HTTPStatus] = {
    "no-such-frame": HTTPStatus.NOT_FOUND,
    "no-such-element": HTTPStatus.NOT_FOUND,
    "no-pixels": HTTPStatus.NOT_FOUND,
    "bad-argument": HTTPStatus.BAD_REQUEST,
    "blob-destroyed": HTTPStatus.GONE,
    "blob-missing": HTTPStatus.INTERNAL_SERVER_ERROR,
    "corrupt-blob": HTTPStatus.INTERNAL_SERVER_ERROR,
    "seal-broken": HTTPStatus.INTERNAL_SERVER_ERROR,
}


def error_response(status: int, code: str, message: str) -> HttpResponse:
    """Return an error as JSON with a stable code and a plain sentence."""
    return JsonResponse({"code": code, "message": message}, status=status)


def accepted_by(request: HttpRequest) -> list[MediaRange]:
    """Return what the request accepts, the best first."""
    return acceptable(request.headers.get("Accept", ""), request.GET.getlist("accept"))


def dicom_json(data: Any, *, media_type: str = APPLICATION_DICOM_JSON, status: int = HTTPStatus.OK) -> HttpResponse:
    """Return data as DICOM JSON (PS3.18 F): UTF-8, null for what is no number."""
    return HttpResponse(orjson.dumps(data), content_type=media_type, status=status)


def multipart(parts: Iterable[tuple[str, bytes]], part_type: str, *, status: int = HTTPStatus.OK) -> HttpResponse:
    """Return a short multipart body at once; `parts`: Content-Type and content of each."""
    boundary = make_boundary()
    body = bytearray()
    for content_type, content in parts:
        body += part_head(boundary, content_type, is_first=not body)
        body += content
    body += closing(boundary)
    return HttpResponse(bytes(body), content_type=multipart_content_type(boundary, part_type), status=status)


def multipart_stream(
    parts: Iterable[tuple[str, Iterable[bytes]]],
    part_type: str,
    *,
    watch: Watch,
    status: int = HTTPStatus.OK,
    part_headers: Mapping[str, str] | None = None,
) -> StreamingHttpResponse:
    """Return a multipart body of any length.

    A part that fails half way ends the connection without the closing boundary, so that no client takes it for whole.
    """
    boundary = make_boundary()
    return StreamingHttpResponse(
        _logged(watch(write_multipart(boundary, parts, part_headers))),
        content_type=multipart_content_type(boundary, part_type),
        status=status,
    )


def _logged(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except Exception as error:
        # The class only: messages may hold what must not be in a log.
        log.error("a multipart answer was cut off by %s", type(error).__name__)
        raise
