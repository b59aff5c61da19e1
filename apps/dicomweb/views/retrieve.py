"""WADO-RS: retrieve instances, metadata, frames and bulk data (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.access.services import authorise, authorise_series
from apps.accounts.roles import Capability
from apps.dicom import sop_classes
from apps.dicom.decode import can_decode
from apps.dicomweb import bulkdata, content, metadata
from apps.dicomweb.errors import NotAcceptableError
from apps.dicomweb.lookups import (
    find_instance,
    find_series,
    find_study,
    frame_numbers,
    instances_of_series,
    instances_of_study,
    series_of_study,
)
from apps.dicomweb.negotiation import (
    APPLICATION_DICOM,
    APPLICATION_DICOM_JSON,
    InstanceNegotiation,
    choose,
    choose_frames,
    choose_instances,
    takes_encoding,
)
from apps.dicomweb.responses import Caller, accepted_by, multipart, multipart_stream
from apps.studies.models import Instance

# Frames of one answer up to this many bytes are sent in one piece, more are streamed.
MAX_BUFFERED_BYTES = 32 << 20


def retrieve_study(request: HttpRequest, caller: Caller, study_instance_uid: str) -> HttpResponseBase:
    """Return all instances of a study."""
    negotiated = _negotiate(request, is_single=False)
    study = find_study(study_instance_uid)
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details={"source": "dicomweb"})
    return _instances(caller, negotiated, list(instances_of_study(study)))


def retrieve_series(
    request: HttpRequest, caller: Caller, study_instance_uid: str, series_instance_uid: str
) -> HttpResponseBase:
    """Return all instances of a series."""
    negotiated = _negotiate(request, is_single=False)
    series = find_series(study_instance_uid, series_instance_uid)
    authorise(request, Capability.STUDY_DOWNLOAD, series, verb="series.downloaded", details={"source": "dicomweb"})
    return _instances(caller, negotiated, list(instances_of_series(series)))


def retrieve_instance(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
) -> HttpResponseBase:
    """Return one instance.

    What has no pixels to carry away (segmentations, reports, states) is read whole by viewers, so that it asks for the
    right to view, not to download.
    """
    negotiated = _negotiate(request, is_single=True)
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    if sop_classes.kind(instance.sop_class_uid) in _READ_WHOLE:
        authorise_series(request, Capability.STUDY_VIEW, instance.series)
    else:
        authorise(
            request, Capability.STUDY_DOWNLOAD, instance, verb="instance.downloaded", details={"source": "dicomweb"}
        )
    return _instances(caller, negotiated, [instance])


_READ_WHOLE = frozenset(
    {
        sop_classes.Kind.SEGMENTATION,
        sop_classes.Kind.REPORT,
        sop_classes.Kind.PRESENTATION_STATE,
        sop_classes.Kind.RADIOTHERAPY,
        sop_classes.Kind.WAVEFORM,
    }
)


def _negotiate(request: HttpRequest, *, is_single: bool) -> InstanceNegotiation:
    negotiated = choose_instances(accepted_by(request), is_single=is_single)
    if negotiated is None:
        raise NotAcceptableError("Instances are given as application/dicom in multipart/related.")
    return negotiated


def _instances(caller: Caller, negotiated: InstanceNegotiation, instances: Sequence[Instance]) -> HttpResponseBase:
    """Send instances; 206 when some can be sent as asked and others cannot (PS3.18 10.4.3.2), 406 when none can."""
    if not instances:
        raise Http404
    sendable = [
        (instance, syntax)
        for instance in instances
        if (syntax := negotiated.syntax_for(instance.transfer_syntax_uid)) is not None
        and (syntax == instance.transfer_syntax_uid or content.can_transcode(instance))
    ]
    if not sendable:
        raise NotAcceptableError("What is stored cannot be sent in the transfer syntax asked for.")
    clinic = caller.principal.clinic
    if not negotiated.is_multipart:
        instance, syntax = sendable[0]
        return StreamingHttpResponse(
            caller.watched(_primed(content.instance_bytes(clinic, instance, syntax))),
            content_type=f"{APPLICATION_DICOM}; transfer-syntax={syntax}",
        )
    parts = (
        (f"{APPLICATION_DICOM}; transfer-syntax={syntax}", content.instance_bytes(clinic, instance, syntax))
        for instance, syntax in sendable
    )
    return multipart_stream(
        _first_opened(parts),
        APPLICATION_DICOM,
        status=HTTPStatus.OK if len(sendable) == len(instances) else HTTPStatus.PARTIAL_CONTENT,
        watch=caller.watched,
    )


def _primed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first chunk now, so that what fails at the start is still a status code."""
    first = next(chunks, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from chunks

    return rest()


def _first_opened(parts: Iterator[tuple[str, Iterator[bytes]]]) -> Iterator[tuple[str, Iterator[bytes]]]:
    content_type, chunks = next(parts)
    primed = _primed(chunks)

    def rest() -> Iterator[tuple[str, Iterator[bytes]]]:
        yield content_type, primed
        yield from parts

    return rest()


def retrieve_study_metadata(request: HttpRequest, caller: Caller, study_instance_uid: str) -> HttpResponseBase:
    """Return the metadata of all instances of a study, streamed series by series."""
    media_type = _json_type(request)
    study = find_study(study_instance_uid)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.viewed", details={"source": "dicomweb"})
    series = list(series_of_study(study))
    for one in series:
        one.study = study
    # Gathered, not streamed: metadata that is not there yet is made within the scope of the clinic.
    body = b"".join(metadata.study_json(series, caller.root))
    return _json_body(request, body, media_type)


def retrieve_series_metadata(
    request: HttpRequest, caller: Caller, study_instance_uid: str, series_instance_uid: str
) -> HttpResponseBase:
    """Return the metadata of all instances of a series, from one blob.

    With `bulkdata=relative`, as our own viewer asks, references to bulk data stay relative to the root of the service:
    then the stored bytes go out as they are.
    """
    media_type = _json_type(request)
    series = find_series(study_instance_uid, series_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, series)
    if request.GET.get("bulkdata") == "relative":
        body, is_packed = metadata.stored_json(series), True
    else:
        if not takes_encoding(request.headers.get("Accept-Encoding", ""), "gzip"):
            pieces = metadata.long_json(series, caller.root)
            if pieces is not None:
                return StreamingHttpResponse(pieces, content_type=media_type, headers={"Vary": "Accept-Encoding"})
        body, is_packed = metadata.series_json(series, caller.root)
    return _json_body(request, body, media_type, is_packed=is_packed)


def retrieve_instance_metadata(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
) -> HttpResponseBase:
    """Return the metadata of one instance."""
    media_type = _json_type(request)
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    found = metadata.instance_json(instance, caller.root)
    if found == b"[]":
        raise Http404
    return _json_body(request, found, media_type)


def _json_type(request: HttpRequest) -> str:
    media_type = choose(accepted_by(request), [APPLICATION_DICOM_JSON, "application/json"])
    if media_type is None:
        raise NotAcceptableError("Metadata is given as application/dicom+json.")
    return media_type


def _json_body(request: HttpRequest, body: bytes, media_type: str, *, is_packed: bool = False) -> HttpResponse:
    """Return JSON text, gzip'd when the client takes that."""
    takes_gzip = takes_encoding(request.headers.get("Accept-Encoding", ""), "gzip")
    if takes_gzip and not is_packed and len(body) > 1024:
        body, is_packed = metadata.pack(body), True
    elif is_packed and not takes_gzip:
        body, is_packed = metadata.unpack(body), False
    response = HttpResponse(body, content_type=media_type)
    response["Vary"] = "Accept-Encoding"
    if is_packed:
        response["Content-Encoding"] = "gzip"
    return response


def retrieve_instance_frames(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    frames: str,
) -> HttpResponseBase:
    """Return frames of an instance, each in a part of its own, or a single one bare.

    With `encoding=gzip`, as our own viewer asks for its first picture, native pixels are packed where that saves some.
    """
    numbers = frame_numbers(frames)
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    index = content.pixel_index(instance)
    if index is None or max(numbers) > index.number_of_frames:
        raise Http404
    form = choose_frames(
        accepted_by(request),
        index.transfer_syntax_uid,
        frame_count=len(numbers),
        may_decode=can_decode(index.transfer_syntax_uid),
    )
    if form is None:
        raise NotAcceptableError("The frames are not stored in, and not decoded to, what is asked for.")
    frames_sent = content.frame_bytes(caller.principal.clinic, instance.blob, index, numbers, form)
    if not form.is_multipart:
        return _packed_if_asked(request, HttpResponse(next(frames_sent), content_type=form.content_type))
    if len(numbers) * index.format.decoded_frame_bytes <= MAX_BUFFERED_BYTES:
        frames_read = [(form.content_type, frame) for frame in frames_sent]
        return _packed_if_asked(request, multipart(frames_read, form.media_type))
    parts = ((form.content_type, iter([frame])) for frame in frames_sent)
    return multipart_stream(_first_opened(parts), form.media_type, watch=caller.watched)


def _packed_if_asked(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Pack an answer for who says that the line is slower than packing; others get frames as they are stored."""
    if request.GET.get("encoding") == "gzip" and takes_encoding(request.headers.get("Accept-Encoding", ""), "gzip"):
        packed = metadata.pack(response.content)
        response["Vary"] = "Accept-Encoding"
        if len(packed) < 0.9 * len(response.content):
            response.content = packed
            response["Content-Encoding"] = "gzip"
    return response


def retrieve_bulkdata(
    request: HttpRequest,
    caller: Caller,
    *,
    study_instance_uid: str,
    series_instance_uid: str,
    sop_instance_uid: str,
    path: str,
) -> HttpResponseBase:
    """Return one bulk data element, named by its tag path; with Range, a part of it (RFC 9110 14)."""
    instance = find_instance(study_instance_uid, series_instance_uid, sop_instance_uid)
    authorise_series(request, Capability.STUDY_VIEW, instance.series)
    return bulkdata.respond(caller, accepted_by(request), request.headers.get("Range", ""), instance, path)
