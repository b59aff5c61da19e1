"""Send what was prepared, and say in the trail what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.formats import MEDIA_TYPES, file_name
from apps.exports.models import Export, Format
from apps.exports.preparing import content_of
from apps.exports.ranges import respond

Watch = Callable[[Iterator[bytes]], Iterator[bytes]]


def send_prepared(request: HttpRequest, export: Export, watch: Watch = iter) -> HttpResponseBase:
    """Authorise and record each study of an export, and send it; `watch` looks on while it is sent.

    Raises Http404 when it is not ready or not allowed.
    """
    studies = list(export.studies.select_related("patient", "clinic"))
    if export.state != Export.State.READY or export.blob is None or not studies:
        raise Http404
    kind = Format(export.format)
    for study in studies:
        details = facts(request, kind, study.number_of_study_related_instances)
        details["export_reference"] = export.public_id
        authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)
    content = content_of(export)
    return respond(
        request,
        size_bytes=export.blob.size_bytes,
        digest=bytes(export.blob.sha256).hex()[:40],
        chunks=lambda start, stop: watch(content(start, stop)),
        media_type=MEDIA_TYPES[kind],
        name=file_name(studies, kind),
    )


def facts(request: HttpRequest, kind: Format, instance_count: int) -> dict[str, object]:
    """Return what the trail says of a download; a transfer that goes on after a break says so."""
    found: dict[str, object] = {"format": kind.value, "instance_count": instance_count}
    return found | {"is_resumed": True} if request.headers.get("Range") else found
