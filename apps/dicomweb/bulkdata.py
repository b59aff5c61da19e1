"""Bulk data by tag path (PS3.18 10.4.1.1.5): pixel data, documents, long binary values; whole or a byte range of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.clinics.models import Clinic
from apps.dicom import limited, sop_classes
from apps.dicom.decode import can_decode
from apps.dicom.frames import Layout, PixelIndex, stream_range
from apps.dicomweb import content
from apps.dicomweb.errors import NotAcceptableError, RangeNotSatisfiableError
from apps.dicomweb.negotiation import (
    ANY,
    EXPLICIT_VR_LITTLE_ENDIAN,
    OCTET_STREAM,
    MediaRange,
    Representation,
    choose_frames,
    covers,
)
from apps.dicomweb.responses import Caller, multipart_stream
from apps.storage.services import open_blob
from apps.studies.models import Instance

PIXEL_DATA = "7FE00010"
_PIXEL_TAGS = frozenset({"7FE00008", "7FE00009", PIXEL_DATA})
ENCAPSULATED_DOCUMENT = "00420011"
PDF = "application/pdf"
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")


@dataclass(frozen=True)
class Value:
    """A value to send: its media type, and its bytes or where they lie in the instance's file."""

    media_type: str
    data: bytes
    places: Sequence[tuple[int, int]] = ()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data) + sum(length for _, length in self.places)

    def part(self, first: int, last: int) -> Value:
        """Return the bytes from `first` to `last`, both included."""
        places: list[tuple[int, int]] = []
        at = 0
        for offset, length in self.places:
            start, end = max(first, at), min(last + 1, at + length)
            if start < end:
                places.append((offset + start - at, end - start))
            at += length
        return Value(self.media_type, self.data[first : last + 1], places)

    def chunks(self, clinic: Clinic, instance: Instance) -> Iterator[bytes]:
        """Yield the bytes."""
        if self.data:
            yield self.data
        for offset, length in self.places:
            yield from content.stored_bytes(clinic, instance.blob, offset, length)


def respond(
    caller: Caller, ranges: Sequence[MediaRange], range_header: str, instance: Instance, path: str
) -> HttpResponseBase:
    """Answer with the element at a tag path; raises Http404, DicomError and the errors of this room."""
    tag_path = path.upper()
    index = content.pixel_index(instance)
    if index is not None and tag_path == f"{index.tag:08X}":
        return _pixels(caller, ranges, range_header, instance, index)
    if tag_path in _PIXEL_TAGS:
        raise Http404
    return _send(caller, ranges, range_header, instance, _element(instance, tag_path))


def _element(instance: Instance, tag_path: str) -> Value:
    with open_blob(instance.blob) as file:
        _, data = limited.bulk_data(file, tag_path)
    is_pdf = (
        tag_path == ENCAPSULATED_DOCUMENT
        and sop_classes.document_media_type(instance.sop_class_uid) == PDF
        and data.startswith(b"%PDF-")
    )
    return Value(PDF if is_pdf else OCTET_STREAM, data)


def _pixels(
    caller: Caller, ranges: Sequence[MediaRange], range_header: str, instance: Instance, index: PixelIndex
) -> HttpResponseBase:
    """Send the pixel data: native frames as one value, a video as its stream, compressed frames in a part each."""
    is_stream = index.layout is Layout.STREAM
    form = choose_frames(
        ranges,
        index.transfer_syntax_uid,
        frame_count=1 if is_stream or not index.is_encapsulated else index.number_of_frames,
        may_decode=not is_stream and can_decode(index.transfer_syntax_uid),
    )
    if form is None:
        raise NotAcceptableError("The pixel data is not stored in, and not decoded to, what is asked for.")
    if is_stream:
        return _send(caller, ranges, range_header, instance, Value(form.media_type, b"", stream_range(index)))
    if index.layout is Layout.NATIVE and form.is_as_stored:
        length = index.frame_bytes * index.number_of_frames
        return _send(caller, ranges, range_header, instance, Value(OCTET_STREAM, b"", [(index.offset, length)]))
    return _frames(caller, instance, index, form)


def _frames(caller: Caller, instance: Instance, index: PixelIndex, form: Representation) -> HttpResponseBase:
    numbers = list(range(1, index.number_of_frames + 1))
    sent = content.frame_bytes(caller.principal.clinic, instance.blob, index, numbers, form)
    if form.media_type == OCTET_STREAM:
        # Decoded frames are one native value again.
        if form.is_multipart:
            return multipart_stream([(form.content_type, sent)], form.media_type, watch=caller.watched)
        return StreamingHttpResponse(caller.watched(sent), content_type=form.content_type)
    if not form.is_multipart:
        return HttpResponse(next(sent), content_type=form.content_type)
    return multipart_stream(((form.content_type, [frame]) for frame in sent), form.media_type, watch=caller.watched)


def _send(
    caller: Caller, ranges: Sequence[MediaRange], range_header: str, instance: Instance, value: Value
) -> HttpResponseBase:
    is_multipart = _is_multipart(ranges, value.media_type)
    span = _span(range_header, value.size)
    headers: dict[str, str] = {}
    status = HTTPStatus.OK
    if span is not None:
        headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{value.size}"
        status = HTTPStatus.PARTIAL_CONTENT
        value = value.part(*span)
    if is_multipart:
        return multipart_stream(
            [(value.media_type, value.chunks(caller.principal.clinic, instance))],
            value.media_type,
            status=status,
            part_headers=headers,
            watch=caller.watched,
        )
    chunks = caller.watched(value.chunks(caller.principal.clinic, instance))
    response = StreamingHttpResponse(chunks, content_type=value.media_type, status=status, headers=headers)
    response["Content-Length"] = str(value.size)
    response["Accept-Ranges"] = "bytes"
    return response


def _is_multipart(ranges: Sequence[MediaRange], media_type: str) -> bool:
    """Tell how to wrap a value; who takes anything gets it bare. Raises NotAcceptableError."""
    for media_range in ranges:
        syntax = media_range.transfer_syntax
        if syntax not in (None, "*", EXPLICIT_VR_LITTLE_ENDIAN) and media_type == OCTET_STREAM:
            continue
        if covers(media_range.part_type, media_type) or media_range.part_type == OCTET_STREAM:
            return media_range.is_multipart and media_range.media_type != ANY
    raise NotAcceptableError("The value is given as application/octet-stream.")


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte asked for, None for all; several ranges at once are not served (RFC 9110 14.2)."""
    asked = _RANGE.fullmatch(header.replace(" ", ""))
    if asked is None or not any(asked.groups()):
        return None
    first, last = asked.groups()
    if not first:
        length = min(int(last), size)
        start, end = size - length, size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start > end or start >= size:
        raise RangeNotSatisfiableError("The byte range lies outside the value.")
    return start, end
