"""STOW-RS: from a request's body to the response module (PS3.18 10.5), part by part, without a plain copy anywhere."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from django.http import HttpRequest

from apps.access.services import Principal
from apps.dicomweb.errors import BadRequestError, LengthRequiredError, UnsupportedMediaTypeError
from apps.dicomweb.multipart import CHUNK_BYTES, MultipartReader, Part, Readable
from apps.dicomweb.negotiation import APPLICATION_DICOM, MULTIPART_RELATED, parse_media_type
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import Arrival, StoreOutcome, open_batch, receive, store_now

# What is not settled after this long is left to the workers, and the client is told where to look (202).
SECONDS_WITHIN_REQUEST: Final = 60.0
# Bodies that announce more than this are not settled within the request at all.
BYTES_WITHIN_REQUEST: Final = 4 << 30

# What waits in the inbox is as safe as what is stored.
SUCCESSES: Final = frozenset({Upload.State.STORED, Upload.State.DUPLICATE, Upload.State.WAITING})
_TOO_MUCH: Final = frozenset({"too-large", "limit-reached", "request-full"})
# Failure Reason (0008,1197) of what could not be understood (PS3.18 Table I.2-2).
_CANNOT_UNDERSTAND: Final = 0xC000
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True)
class Stored:
    """What became of a request: one outcome a part that is settled, and how many parts still wait for a worker."""

    batch: UploadBatch
    outcomes: Sequence[StoreOutcome]
    waiting_count: int

    @property
    def status(self) -> HTTPStatus:
        """Return the status of PS3.18 Table 10.5.3-1: 200 all stored, 202 some or not settled yet, 409 none."""
        if self.waiting_count:
            return HTTPStatus.ACCEPTED
        stored_count = sum(outcome.outcome in SUCCESSES for outcome in self.outcomes)
        if stored_count == len(self.outcomes):
            return HTTPStatus.OK
        if stored_count:
            return HTTPStatus.ACCEPTED
        if all(outcome.code in _TOO_MUCH for outcome in self.outcomes):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return HTTPStatus.CONFLICT


def body_stream(request: HttpRequest) -> Readable:
    """Return what the body is read from.

    Django reads as far as Content-Length says. A chunked body has none: there the server's own stream is read, if the
    server says that this stream ends by itself (`wsgi.input_terminated`, as gunicorn does). Raises LengthRequiredError.
    """
    if request.META.get("CONTENT_LENGTH"):
        return request
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        environ: dict[str, Any] = getattr(request, "environ", {})
        if environ.get("wsgi.input_terminated"):
            stream: Readable = environ["wsgi.input"]
            return stream
    raise LengthRequiredError("The request says neither how long its body is nor where it ends.")


def parts_of(request: HttpRequest) -> Iterator[Arrival]:
    """Return the instances in a body, to be read one after the other.

    A part may say what its sender calls it: `Content-ID` (RFC 2392) is the sender's own key, under which the same part
    sent again is known, and `Content-Location` (RFC 2557) the name of the file, shown to people.
    Raises UnsupportedMediaTypeError, LengthRequiredError; MultipartError also while it is read.
    """
    media_type, parameters = parse_media_type(request.headers.get("Content-Type", ""))
    if media_type == APPLICATION_DICOM:
        return iter([Arrival("", _chunks(body_stream(request)))])
    part_type = parameters.get("type", APPLICATION_DICOM).lower()
    if media_type != MULTIPART_RELATED or part_type != APPLICATION_DICOM:
        raise UnsupportedMediaTypeError('Instances are stored as multipart/related; type="application/dicom".')
    reader = MultipartReader(body_stream(request), parameters.get("boundary", ""))
    return (_arrival(part) for part in reader)


def _arrival(part: Part) -> Arrival:
    key = part.headers.get("content-id", "").strip("<>")
    name = unquote(part.headers.get("content-location", ""))
    return Arrival(name, part.chunks, client_key=key if _KEY.fullmatch(key) else None)


def _chunks(stream: Readable) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def store(
    principal: Principal,
    parts: Iterable[Arrival],
    *,
    size_bytes: int,
    study_instance_uid: str,
    into: UploadBatch | None = None,
) -> Stored:
    """Store the parts of a request; everything counted in the answer is durable.

    `size_bytes` is what the request announces, 0 when it does not. `into`: the batch that they belong to, which stays
    open, else one of their own. Raises BadRequestError for a body without parts,
    and what `ingest.services.store_now` and `receive` raise.
    """
    batch = into or open_batch(principal, UploadBatch.Source.STOW, is_one_request=True)
    waiting = iter(parts)
    outcomes: list[StoreOutcome] = []
    # A study in the path is checked while parsing, which a worker would do too late to be refused.
    is_settled_now = size_bytes <= BYTES_WITHIN_REQUEST or bool(study_instance_uid)
    if is_settled_now:
        within = waiting if study_instance_uid else _until(waiting, time.monotonic() + SECONDS_WITHIN_REQUEST)
        outcomes = store_now(principal, batch, within, study_instance_uid=study_instance_uid)
    # What waits for the virus scan is settled later, too.
    waiting_count = sum(outcome.outcome == Upload.State.RECEIVED for outcome in outcomes)
    outcomes = [outcome for outcome in outcomes if outcome.outcome != Upload.State.RECEIVED]
    for arrival in waiting:
        receive(principal, batch, arrival.name, arrival.chunks, client_key=arrival.client_key)
        waiting_count += 1
    if not outcomes and not waiting_count:
        raise BadRequestError("The body holds no instance.", code="no-instances")
    return Stored(batch, outcomes, waiting_count)


def _until(parts: Iterator[Arrival], deadline: float) -> Iterator[Arrival]:
    while time.monotonic() < deadline:
        part = next(parts, None)
        if part is None:
            return
        yield part


def response_module(outcomes: Iterable[StoreOutcome], root: str, study_instance_uid: str = "") -> dict[str, Any]:
    """Return the Store Instances Response Module (PS3.18 Table I.1-1) as DICOM JSON.

    What could not be read as far as its UIDs stands in the Other Failures Sequence.
    """
    stored: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    studies: set[str] = set()
    for outcome in outcomes:
        item: dict[str, Any] = {}
        if outcome.sop_instance_uid:
            item["00081150"] = _ui(outcome.sop_class_uid)
            item["00081155"] = _ui(outcome.sop_instance_uid)
        if outcome.outcome in SUCCESSES:
            studies.add(outcome.study_instance_uid)
            item["00081190"] = _ur(
                f"{root}/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
                f"/instances/{outcome.sop_instance_uid}"
            )
            stored.append(item)
        else:
            item["00081197"] = {"vr": "US", "Value": [outcome.failure_reason or _CANNOT_UNDERSTAND]}
            (failed if outcome.sop_instance_uid else other).append(item)
    module: dict[str, Any] = {}
    if study_instance_uid or len(studies) == 1:
        module["00081190"] = _ur(f"{root}/studies/{study_instance_uid or next(iter(studies))}")
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", other)):
        if items:
            module[tag] = {"vr": "SQ", "Value": items}
    return module


def _ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


def _ur(url: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [url]}
