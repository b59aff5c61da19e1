"""Pictures for people: rendered instances and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

from typing import BinaryIO

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.access.services import authorise, authorise_series, authorise_thumbnail
from apps.accounts.roles import Capability
from apps.dicom import decode, limited, sop_classes
from apps.dicomweb import bulkdata
from apps.dicomweb.errors import BadRequestError, NotAcceptableError
from apps.dicomweb.lookups import (
    find_instance,
    find_series,
    find_study,
    frame_numbers,
    instances_of_series,
    series_of_study,
)
from apps.dicomweb.negotiation import MediaRange, choose, media_type_of
from apps.dicomweb.rendering import Rendering, parse_rendering
from apps.dicomweb.responses import Caller, accepted_by, multipart
from apps.exports.services import mark
from apps.storage.services import open_blob
from apps.studies.models import Instance, Series, Study
from apps.studies.services import thumbnail

JPEG = "image/jpeg"
MAX_RENDERED_FRAMES = 32


def retrieve_study_rendered(request: HttpRequest, caller: Caller, study_instance_uid: str) -> HttpResponseBase:
    """Return one picture for a study: the middle of its first series with pixels."""
    study = find_study(study_instance_uid)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.viewed", details={"source": "dicomweb"})
    return _rendered(request, caller, _first_shown(study))


def retrieve_series_rendered(
    request: HttpRequest, caller: Caller, study_instance_uid: str, series_instance_uid: str
) -> HttpResponseBase:
    """Return one picture for a series: its middle instance."""
    series = find_series(study_instance_uid, series_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, series)
    return _rendered(request, caller, _middle_of(series))


def retrieve_instance_rendered(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
) -> HttpResponseBase:
    """Return a picture of an instance, its document if it is one, or its video."""
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    return _rendered(request, caller, instance)


def retrieve_frames_rendered(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    frames: str,
) -> HttpResponseBase:
    """Return a picture of a frame; of several frames, a picture in a part for each."""
    numbers = frame_numbers(frames)
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    if max(numbers) > instance.number_of_frames:
        raise Http404
    if len(numbers) > MAX_RENDERED_FRAMES:
        raise BadRequestError(f"At most {MAX_RENDERED_FRAMES} frames are rendered at once.")
    rendering = parse_rendering(request.GET)
    media_type = _picture_type(request)
    with open_blob(instance.blob) as file:
        pictures = [_picture(caller, file, number, rendering, media_type) for number in numbers]
    if len(pictures) == 1:
        return HttpResponse(pictures[0], content_type=media_type)
    return multipart([(media_type, picture) for picture in pictures], media_type)


def retrieve_study_thumbnail(request: HttpRequest, caller: Caller, study_instance_uid: str) -> HttpResponseBase:
    """Return a small picture of a study."""
    study = find_study(study_instance_uid)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.viewed", details={"source": "dicomweb"})
    _require_jpeg(request)
    return _thumbnail(_first_shown(study))


def retrieve_series_thumbnail(
    request: HttpRequest, caller: Caller, study_instance_uid: str, series_instance_uid: str
) -> HttpResponseBase:
    """Return a small picture of a series, as it was stored at ingest."""
    series = find_series(study_instance_uid, series_instance_uid)
    authorise_thumbnail(request, series.study)
    _require_jpeg(request)
    return _thumbnail(series)


def retrieve_instance_thumbnail(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
) -> HttpResponseBase:
    """Return a small picture of an instance."""
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    _require_jpeg(request)
    return _thumbnail(instance)


def retrieve_frames_thumbnail(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    frames: str,
) -> HttpResponseBase:
    """Return a small picture of the first of the frames named."""
    numbers = frame_numbers(frames)
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    _require_jpeg(request)
    if numbers[0] > instance.number_of_frames:
        raise Http404
    size = decode.Viewport(decode.THUMBNAIL_SIZE, decode.THUMBNAIL_SIZE)
    with open_blob(instance.blob) as file:
        picture = _picture(caller, file, numbers[0], Rendering(None, size, 85), JPEG)
    return HttpResponse(picture, content_type=JPEG)


def _middle_of(series: Series) -> Instance:
    """Return the instance that stands for a series; raises Http404 for one without pictures."""
    shown = instances_of_series(series).filter(number_of_frames__gt=0)
    instance = shown[shown.count() // 2 :].first() if shown.exists() else instances_of_series(series).first()
    if instance is None:
        raise Http404
    return instance


def _first_shown(study: Study) -> Instance:
    """Return the instance that stands for a study; raises Http404 for one without pictures."""
    for series in series_of_study(study):
        if series.has_pixels:
            return _middle_of(series)
    raise Http404


def _picture_type(request: HttpRequest) -> str:
    media_type = choose(accepted_by(request), decode.MEDIA_TYPES)
    if media_type is None:
        raise NotAcceptableError("Frames are rendered as image/jpeg or image/png.")
    return media_type


def _require_jpeg(request: HttpRequest) -> None:
    if choose(accepted_by(request), [JPEG]) is None:
        raise NotAcceptableError("Thumbnails are given as image/jpeg.")


def _rendered(request: HttpRequest, caller: Caller, instance: Instance) -> HttpResponseBase:
    """Return what stands for an instance: its document, its video, or the picture of its middle frame."""
    if not instance.number_of_frames:
        return _document(request, caller, instance)
    if media_type_of(instance.transfer_syntax_uid).startswith("video/"):
        asked = request.headers.get("Range", "")
        return bulkdata.respond(caller, accepted_by(request), asked, instance, bulkdata.PIXEL_DATA)
    rendering = parse_rendering(request.GET)
    media_type = _picture_type(request)
    with open_blob(instance.blob) as file:
        picture = _picture(caller, file, (instance.number_of_frames + 1) // 2, rendering, media_type)
    return HttpResponse(picture, content_type=media_type)


def _document(request: HttpRequest, caller: Caller, instance: Instance) -> HttpResponseBase:
    document_type = sop_classes.document_media_type(instance.sop_class_uid)
    if document_type != bulkdata.PDF:
        raise NotAcceptableError("There is nothing to render in this instance.")
    if choose(accepted_by(request), [bulkdata.PDF]) is None:
        raise NotAcceptableError("This document is given as application/pdf.")
    asked = request.headers.get("Range", "")
    return bulkdata.respond(caller, [MediaRange(bulkdata.PDF)], asked, instance, bulkdata.ENCAPSULATED_DOCUMENT)


def _picture(caller: Caller, file: BinaryIO, number: int, rendering: Rendering, media_type: str) -> bytes:
    """Return a frame as a picture; it carries the watermark of a link that has one."""
    picture = limited.rendered(
        file,
        number,
        window=rendering.window,
        size=rendering.viewport,
        media_type=media_type,
        quality=rendering.quality,
    )
    return mark(picture, caller.principal.watermark, media_type)


def _thumbnail(shown: Series | Instance) -> HttpResponse:
    return HttpResponse(thumbnail(shown), content_type=JPEG)
