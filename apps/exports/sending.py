"""Send what was prepared, and say in the trail what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.exports import film
from apps.exports.formats import MEDIA_TYPES, file_name
from apps.exports.models import Export, Format
from apps.exports.pictures import PICTURE_TYPES, film_of, instance_of, picture, wish_of
from apps.exports.preparing import content_of
from apps.exports.ranges import respond
from apps.studies.models import Series

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


def facts(request: HttpRequest, kind: str, instance_count: int) -> dict[str, object]:
    """Return what the trail says of a download; a transfer that goes on after a break says so."""
    found: dict[str, object] = {"format": str(kind), "instance_count": instance_count}
    return found | {"is_resumed": True} if request.headers.get("Range") else found


def send_picture(request: HttpRequest, series: Series) -> HttpResponse:
    """Authorise, record and send one frame as a picture; it carries the principal's watermark."""
    kind = request.GET.get("format", "jpeg")
    if kind not in PICTURE_TYPES:
        raise Http404
    wish = wish_of(request.GET)
    instance = instance_of(series, request.GET.get("instance", ""))
    instance.series = series
    details = {"format": kind, "frame_number": wish.frame}
    authorise(request, Capability.STUDY_DOWNLOAD, instance, verb="instance.downloaded", details=details)
    content = picture(instance, wish, PICTURE_TYPES[kind], principal_of(request).watermark)
    response = HttpResponse(content, content_type=PICTURE_TYPES[kind])
    response["Content-Disposition"] = (
        f'attachment; filename="{series.clinic.slug}-picture.{kind[:3].replace("jpe", "jpg")}"'
    )
    return response


def send_film(request: HttpRequest, series: Series, watch: Watch = iter) -> HttpResponseBase:
    """Authorise, record and send a series as a film; `watch` looks on while it is sent. Raises NoFilmError."""
    wish = wish_of(request.GET)
    count = series.number_of_series_related_instances
    details = facts(request, "mp4", count)
    authorise(request, Capability.STUDY_DOWNLOAD, series, verb="series.downloaded", details=details)
    watermark = principal_of(request).watermark
    chunks = film_of(series.clinic, series, wish, watermark, request.GET.get("instance", ""))
    response = StreamingHttpResponse(watch(chunks), content_type=film.MEDIA_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{series.clinic.slug}-film.mp4"'
    return response
