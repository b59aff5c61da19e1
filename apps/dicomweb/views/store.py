"""STOW-RS: store instances (PS3.18 10.5)."""

from __future__ import annotations

from http import HTTPStatus

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.dicom.uid import is_valid_uid
from apps.dicomweb import storing
from apps.dicomweb.errors import NotAcceptableError, PayloadTooLargeError
from apps.dicomweb.negotiation import APPLICATION_DICOM, APPLICATION_DICOM_JSON, choose, parse_media_type
from apps.dicomweb.responses import Caller, accepted_by, dicom_json
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import outcome_of, own_batch

_WAITING = (Upload.State.RECEIVED, Upload.State.EXPANDED)


def store_instances(request: HttpRequest, caller: Caller, study_instance_uid: str = "") -> HttpResponse:
    """Store the instances of the body; `study_instance_uid`: they must belong to this study."""
    if study_instance_uid and not is_valid_uid(study_instance_uid):
        raise Http404
    media_type = _media_type(request)
    size_bytes = int(request.META.get("CONTENT_LENGTH") or 0)
    body_type, _ = parse_media_type(request.headers.get("Content-Type", ""))
    if body_type == APPLICATION_DICOM and size_bytes > settings.MAX_FILE_BYTES:
        raise PayloadTooLargeError("The instance is larger than this installation takes.")
    parts = storing.parts_of(request)
    into = None
    if reference := request.GET.get("upload", ""):
        # A page of ours: what it sends in many requests is one upload to whoever looks at it later.
        into = own_batch(caller.principal, reference)
        if into is None:
            raise Http404
    authorise(request, Capability.UPLOAD_CREATE, None, verb="upload.requested", details={"source": "dicomweb"})
    stored = storing.store(
        caller.principal, parts, size_bytes=size_bytes, study_instance_uid=study_instance_uid, into=into
    )
    module = storing.response_module(stored.outcomes, caller.root, study_instance_uid)
    response = dicom_json(module, media_type=media_type, status=stored.status)
    if stored.waiting_count and caller.principal.kind != "link":
        slug = caller.principal.clinic.slug
        response["Location"] = reverse("dicomweb-store-status", args=[slug, stored.batch.public_id])
    return response


def retrieve_store_status(request: HttpRequest, caller: Caller, batch_id: str) -> HttpResponse:
    """Return what became of a request that was answered 202: 202 again while parts of it wait."""
    media_type = _media_type(request)
    context = caller.principal.context
    batch = UploadBatch.objects.filter(
        public_id=batch_id,
        source=UploadBatch.Source.STOW,
        actor_kind=context.actor_kind,
        actor_reference=context.actor_reference,
    ).first()
    if batch is None:
        raise Http404
    authorise(request, Capability.UPLOAD_CREATE, batch, verb="upload.viewed", details={"source": "dicomweb"})
    uploads = list(Upload.objects.filter(batch=batch).select_related("instance__series__study").order_by("pk"))
    outcomes = [outcome_of(upload) for upload in uploads if upload.state not in _WAITING]
    stored = storing.Stored(batch, outcomes, len(uploads) - len(outcomes))
    response = dicom_json(storing.response_module(outcomes, caller.root), media_type=media_type, status=stored.status)
    if stored.status is HTTPStatus.ACCEPTED and stored.waiting_count:
        response["Retry-After"] = "5"
    return response


def _media_type(request: HttpRequest) -> str:
    media_type = choose(accepted_by(request), [APPLICATION_DICOM_JSON, "application/json"])
    if media_type is None:
        raise NotAcceptableError("The outcome is given as application/dicom+json.")
    return media_type
