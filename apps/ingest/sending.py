"""What the upload page talks to besides STOW-RS and tus: begin, what is there already, what became of it, the end."""

from __future__ import annotations

import json
import re
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.access.services import authorise_covered
from apps.accounts.roles import Capability
from apps.ingest import queries, services
from apps.ingest.doors import Entrance
from apps.ingest.errors import IngestError
from apps.ingest.lookups import patient_or_404, study_or_404
from apps.ingest.models import Transfer, Upload, UploadBatch
from apps.ingest.naming import display_name
from apps.ingest.outcomes import describe
from apps.storage.errors import StorageError

State = Upload.State

ASKED_AT_ONCE: Final = 2000
_UID = re.compile(r"[0-9.]{1,64}")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_BATCH = re.compile(r"[A-Za-z0-9_-]{0,40}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# What somebody without an account is told of a file: that it came, never what it met.
_ARRIVED: Final = frozenset({State.STORED, State.DUPLICATE, State.CONFLICT, State.WAITING})


class BadQuestionError(IngestError):
    """A question that the page does not ask."""

    code = "bad-question"
    status = 400


@require_http_methods(["GET", "POST"])
def begin(request: HttpRequest, entrance: Entrance) -> HttpResponse:
    """GET: say who acts here and which token their requests carry, to a page signed out before. POST: open a batch."""
    principal = entrance.principal
    if request.method == "GET":
        return JsonResponse({"person": principal.context.actor_reference, "csrf": get_token(request)})
    study = study_or_404(principal, request.POST.get("study", ""))
    patient = patient_or_404(principal, request.POST.get("patient", ""))
    batch = services.open_batch(principal, UploadBatch.Source.WEB, study=study, patient=patient)
    answer = {
        "batch": batch.public_id,
        "urls": {
            "store": f"{entrance.store_url()}?upload={batch.public_id}",
            "close": entrance.url("close", batch_id=batch.public_id),
            "results": entrance.url("results", batch_id=batch.public_id),
            "page": entrance.batch_url(batch),
        },
    }
    return JsonResponse(answer, status=HTTPStatus.CREATED)


@require_POST
def have(request: HttpRequest, entrance: Entrance) -> HttpResponse:
    """Say what of all this the sender's own uploads have brought; never what else the clinic holds.

    Asked: `batch`, `keys` (of files sent in this batch), `instances` ([SOP Instance UID, bytes]) and `files`
    ([fingerprint, bytes, key]). Answered in the same order: how often each instance was brought; for each file null,
    `{"url", "offset"}` of a transfer to go on with, which is this batch's from now on, or `{"done": true}`.
    """
    principal = entrance.principal
    try:
        asked = _question(request)
        batch = get_object_or_404(queries.own_batches(principal), public_id=str(asked["batch"]))
        services.check_open(principal, batch)
        known = services.known_keys(batch, asked["keys"])
        brought = queries.brought_instances(principal, [uid for uid, _size in asked["instances"]])
        answer = {
            "keys": {key: _row(entrance, upload) for key, upload in known.items()},
            "instances": [brought.get((uid, size), 0) for uid, size in asked["instances"]],
            "files": [_transfer(entrance, batch, *file) for file in asked["files"]],
        }
    except (IngestError, StorageError) as error:
        return refusal(error)
    return JsonResponse(answer)


def _question(request: HttpRequest) -> dict[str, Any]:
    """Return the question, every value of the shape that it must have; raises BadQuestionError."""
    try:
        asked = json.loads(request.body)
        keys = [str(key) for key in asked.get("keys", [])]
        instances = [(str(uid), int(size)) for uid, size in asked.get("instances", [])]
        files = [(str(fingerprint), int(size), str(key)) for fingerprint, size, key in asked.get("files", [])]
        question = {"batch": asked.get("batch", ""), "keys": keys, "instances": instances, "files": files}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadQuestionError from error
    is_shaped = (
        isinstance(question["batch"], str)
        and _BATCH.fullmatch(question["batch"])
        and all(_KEY.fullmatch(key) for key in keys)
        and all(_UID.fullmatch(uid) for uid, _size in instances)
        and all(_FINGERPRINT.fullmatch(fingerprint) and _KEY.fullmatch(key) for fingerprint, _size, key in files)
    )
    if not is_shaped or max(len(keys), len(instances), len(files)) > ASKED_AT_ONCE:
        raise BadQuestionError
    return question


def _transfer(
    entrance: Entrance, batch: UploadBatch, fingerprint: str, size_bytes: int, key: str
) -> dict[str, Any] | None:
    transfer = queries.own_transfer(entrance.principal, fingerprint, size_bytes)
    if transfer is None:
        return None
    if transfer.upload_id is not None:
        return {"done": True}
    # What becomes of it belongs to the visit that finishes it.
    Transfer.objects.filter(pk=transfer.pk, upload=None).update(batch=batch, client_key=key)
    return {"url": entrance.url("tus-file", transfer_id=transfer.public_id), "offset": transfer.offset_bytes}


@require_POST
def close(request: HttpRequest, entrance: Entrance, batch_id: str) -> HttpResponse:
    """Note that everything was sent."""
    batch = get_object_or_404(queries.own_batches(entrance.principal), public_id=batch_id)
    services.close_batch(batch)
    return JsonResponse({})


@require_GET
def results(request: HttpRequest, entrance: Entrance, batch_id: str) -> HttpResponse:
    """Say what became of the files since `after`, to the page that sent them, which knows of `known` outcomes.

    One query while nothing new has happened, two when it has.
    """
    batch = get_object_or_404(queries.with_counts(queries.own_batches(entrance.principal)), public_id=batch_id)
    uploads: list[Upload] = []
    after = request.GET.get("after", "")
    if request.GET.get("known", "") != str(batch.finished_count):
        uploads = queries.finished_since(batch, *_cursor(after))
    if any(upload.archive_id is not None for upload in uploads):
        # Names from inside an archive may name people, and the page has not seen them yet.
        authorise_covered(request, Capability.UPLOAD_CREATE, batch, verb="upload.viewed")
    if uploads and uploads[-1].finished_at is not None:
        after = f"{uploads[-1].finished_at.isoformat()} {uploads[-1].public_id}"
    return JsonResponse(
        {
            "after": after,
            "open": batch.open_count,
            "finished": batch.finished_count,
            "uploads": [_row(entrance, upload) for upload in uploads],
        }
    )


def _cursor(text: str) -> tuple[datetime | None, str]:
    """Return when the last known outcome was written down, and of which upload; nothing of either at the beginning."""
    instant, _space, public_id = text.partition(" ")
    try:
        at = parse_datetime(instant)
    except ValueError:
        at = None
    return (at, public_id) if at is not None and is_aware(at) else (None, "")


def refusal(error: IngestError | StorageError) -> HttpResponse:
    """Return an error as the page's script takes it: a code for it, a sentence for the person."""
    status = error.status if isinstance(error, IngestError) else HTTPStatus.SERVICE_UNAVAILABLE
    return JsonResponse({"code": error.code, "message": str(error)}, status=status)


def _row(entrance: Entrance, upload: Upload) -> dict[str, Any]:
    """Return one upload as the page's script takes it; every value is set as text there."""
    state, code, message = upload.state, upload.code, upload.message
    text = describe(state, code, message)
    if entrance.principal.kind == "link" and (state in _ARRIVED or code == "not-wanted"):
        # Whatever became of it since is the clinic's business.
        state, code, text = State.STORED, "", gettext("Arrived")
    row: dict[str, Any] = {
        "id": upload.public_id,
        "key": upload.client_key or "",
        "state": state,
        "code": code,
        "text": text,
        "is_finished": state != State.RECEIVED,
        "study_url": entrance.study_url(upload.study),
    }
    if upload.archive is not None:
        # The script knows the names of what it sent itself; those inside an archive it cannot know.
        row |= {"archive": upload.archive.public_id, "name": display_name(upload.name), "size": upload.size_bytes}
    return row
