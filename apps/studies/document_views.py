"""Documents on their way out: as files to keep, never inside a page; what a page shows of them we made ourselves.

A PDF, a CDA or whatever else somebody sent is given as an attachment with a fixed type, and with a policy under which
it may do nothing should a browser open it all the same (RFC 6266; CONTROLS WEB-04, WEB-05). Pages show text, and small
pictures that were drawn here.
"""

from __future__ import annotations

from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from apps.access.services import authorise, authorise_covered, authorise_series
from apps.accounts.roles import Capability
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.patients.models import Patient
from apps.storage.services import iterate_blob, open_blob
from apps.studies.documents import MEDIA_TYPES, title_of
from apps.studies.models import IN_USE, Document, Series
from apps.studies.papers import document_of, papers_of
from apps.studies.queries import documents_of

SANDBOX = "default-src 'none'; sandbox"
PICTURE_PIXELS = 480


@require_safe
def document(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Return a document as a file."""
    shown = _document(public_id)
    authorise(request, Capability.STUDY_VIEW, shown, verb="document.viewed")
    media_type = shown.media_type if shown.media_type in MEDIA_TYPES else "application/octet-stream"
    response = StreamingHttpResponse(iterate_blob(shown.blob), content_type=media_type)
    response["Content-Length"] = str(shown.blob.size_bytes)
    return as_attachment(response, f"{title_of(shown.title)}.{MEDIA_TYPES.get(media_type, 'bin')}")


@require_safe
def document_picture(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Return a small picture of a photograph, drawn here."""
    shown = _document(public_id)
    authorise_covered(request, Capability.STUDY_VIEW, shown, verb="document.viewed")
    if not shown.is_picture:
        raise Http404
    try:
        with open_blob(shown.blob) as file:
            picture = limited.picture_small(file, PICTURE_PIXELS)
    except DicomError:
        raise Http404 from None
    return HttpResponse(picture, content_type="image/jpeg")


@require_safe
def patient_documents(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show the part of the patient page with the documents that belong to no study."""
    patient = get_object_or_404(Patient, public_id=public_id)
    authorise_covered(request, Capability.STUDY_VIEW, patient, verb="patient.viewed")
    context = {"documents": documents_of(patient), "patient": patient}
    return render(request, "studies/_patient_documents.html", context)


@require_safe
def series_papers(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show what the reports and documents of a series say."""
    series = _series(public_id)
    authorise_series(request, Capability.STUDY_VIEW, series)
    return render(
        request, "studies/papers.html", {"series": series, "study": series.study, "papers": papers_of(series)}
    )


@require_safe
def series_paper_file(
    request: HttpRequest, clinic_slug: str, public_id: str, sop_instance_uid: str
) -> HttpResponseBase:
    """Return a document that came inside DICOM as the file that it was."""
    series = _series(public_id)
    authorise_series(request, Capability.STUDY_VIEW, series)
    instance = get_object_or_404(series.instances.select_related("blob"), sop_instance_uid=sop_instance_uid)
    try:
        media_type, ending, content = document_of(instance)
    except DicomError:
        raise Http404 from None
    response = HttpResponse(content, content_type=media_type)
    return as_attachment(response, f"{title_of(series.series_description or series.readable_class)}.{ending}")


def as_attachment(response: HttpResponseBase, name: str) -> HttpResponseBase:
    """Return the answer as a file of this name (RFC 6266) that may do nothing if it is opened."""
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    response["Content-Disposition"] = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name)}"
    response["Content-Security-Policy"] = SANDBOX
    return response


def _document(public_id: str) -> Document:
    rows = Document.objects.select_related("study__patient", "patient__merged_into", "blob")
    return get_object_or_404(rows.filter(IN_USE), public_id=public_id)


def _series(public_id: str) -> Series:
    return get_object_or_404(Series.objects.select_related("study__patient"), public_id=public_id)
