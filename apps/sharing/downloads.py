"""Taking along what a link shows, where it allows that."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST, require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.errors import ExportError, NoFilmError
from apps.exports.services import (
    MEDIA_TYPES,
    Format,
    exports_of,
    file_name,
    layout_of,
    request_export,
    respond,
    send_film,
    send_picture,
    send_prepared,
)
from apps.links.visitors import csrf_protected_without_referer
from apps.sharing import services
from apps.storage.services import iterate_blob
from apps.studies.models import Document, Series, Study
from apps.studies.services import title_of

EXPORTS_SHOWN = 20


@require_safe
@services.recipient_page
def share_download(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send one study of the link as one file, where the link allows it; `?format=iso` as the image of a disc."""
    studies = services.visible_studies(request.share).select_related("patient", "clinic")  # type: ignore[attr-defined]
    study = get_object_or_404(studies, public_id=public_id)
    _authorise(request, study)
    return _send(request, link_id, [study])


@require_safe
@services.recipient_page
def share_download_all(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Send all studies of the link as one file."""
    studies = services.visible_studies(request.share).select_related("patient", "clinic")  # type: ignore[attr-defined]
    chosen = list(studies.order_by("study_date", "pk"))
    if not chosen:
        raise Http404
    for study in chosen:
        _authorise(request, study)
    return _send(request, link_id, chosen)


@require_safe
@services.recipient_page
def share_document(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send a document that lies beside a study of the link as a file to keep, where the link allows downloading.

    It may do nothing should a browser open it all the same, as for members.
    """
    studies = services.visible_studies(request.share)  # type: ignore[attr-defined]
    rows = Document.objects.select_related("study__patient", "blob").filter(study__in=studies)
    shown = get_object_or_404(rows, public_id=public_id)
    authorise(request, Capability.STUDY_DOWNLOAD, shown, verb="document.viewed")
    ending = shown.readable_type.lower()
    response = StreamingHttpResponse(
        services.while_shared(request, link_id, iterate_blob(shown.blob)),
        content_type=shown.media_type if ending else "application/octet-stream",
    )
    response["Content-Length"] = str(shown.blob.size_bytes)
    response["Content-Disposition"] = content_disposition_header(True, f"{title_of(shown.title)}.{ending or 'bin'}")
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@require_safe
@services.recipient_page
def share_picture(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send one frame as a picture, where the link allows downloading."""
    return send_picture(request, _series(public_id))


@require_safe
@services.recipient_page
def share_film(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send a series as a film, where the link allows downloading."""
    series = _series(public_id)
    try:
        return send_film(request, series, watch=lambda chunks: services.while_shared(request, link_id, chunks))
    except NoFilmError as error:
        messages.error(request, str(error))
        return redirect("share-home", link_id)


def _series(public_id: str) -> Series:
    return get_object_or_404(Series.objects.select_related("study__patient", "clinic"), public_id=public_id)


@require_safe
@services.recipient_page
def share_exports(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Show what is prepared for the holder of this link, with progress; answers htmx with the list alone."""
    exports = list(exports_of(request.principal)[:EXPORTS_SHOWN])  # type: ignore[attr-defined]
    authorise(request, Capability.STUDY_DOWNLOAD, verb="export.listed", details={"export_count": len(exports)})
    is_part = request.headers.get("HX-Request") == "true"
    is_working = any(one.state in ("waiting", "running") for one in exports)
    context = {"exports": exports, "is_working": is_working, "link_id": link_id}
    return render(request, "exports/_exports.html" if is_part else "sharing/exports.html", context)


@csrf_protected_without_referer
@require_POST
@services.recipient_page
def share_prepare(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Have all that the link shows prepared in the background."""
    studies = services.visible_studies(request.share).select_related("patient")  # type: ignore[attr-defined]
    chosen = list(studies.order_by("study_date", "pk"))
    if not chosen:
        raise Http404
    for study in chosen:
        details = {"format": _format(request).value}
        authorise(request, Capability.STUDY_DOWNLOAD, study, verb="export.requested", details=details)
    try:
        request_export(request.principal, chosen, _format(request))  # type: ignore[attr-defined]
    except ExportError as error:
        messages.error(request, str(error))
    return redirect("share-exports", link_id)


@require_safe
@services.recipient_page
def share_export_download(request: HttpRequest, link_id: str, export_id: str) -> HttpResponseBase:
    """Send what was prepared for this link."""
    export = get_object_or_404(exports_of(request.principal), public_id=export_id)  # type: ignore[attr-defined]
    return send_prepared(request, export, watch=lambda chunks: services.while_shared(request, link_id, chunks))


def _authorise(request: HttpRequest, study: Study) -> None:
    details: dict[str, object] = {
        "format": _format(request).value,
        "instance_count": study.number_of_study_related_instances,
    }
    if request.headers.get("Range"):
        details["is_resumed"] = True
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)


def _format(request: HttpRequest) -> Format:
    try:
        return Format((request.POST if request.method == "POST" else request.GET).get("format", Format.ZIP))
    except ValueError:
        raise Http404 from None


def _send(request: HttpRequest, link_id: str, studies: list[Study]) -> HttpResponseBase:
    kind = _format(request)
    clinic = studies[0].clinic
    layout = layout_of(clinic, studies, kind)
    return respond(
        request,
        size_bytes=layout.size_bytes,
        digest=layout.digest,
        chunks=lambda start, stop: services.while_shared(request, link_id, layout.iterate(clinic, start, stop)),
        media_type=MEDIA_TYPES[kind],
        name=file_name(studies, kind),
    )
