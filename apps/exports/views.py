"""Taking a study, a series or a patient away."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.exports import preparing
from apps.exports.errors import ExportError
from apps.exports.sending import facts, send_prepared
from apps.exports.services import MEDIA_TYPES, Format, file_name, layout_of, respond
from apps.patients.models import Patient
from apps.studies.models import Series, Study

EXPORTS_SHOWN = 50


@require_safe
def study_download(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send a study as one file; `?format=iso` as the image of a disc."""
    kind = chosen_format(request)
    study = get_object_or_404(Study.objects.select_related("patient", "clinic"), public_id=public_id)
    count = study.number_of_study_related_instances
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=facts(request, kind, count))
    return _send(request, [study], kind)


@require_safe
def series_download(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send one series as one file."""
    kind = chosen_format(request)
    series = get_object_or_404(Series.objects.select_related("study__patient", "study__clinic"), public_id=public_id)
    count = series.number_of_series_related_instances
    authorise(request, Capability.STUDY_DOWNLOAD, series, verb="series.downloaded", details=facts(request, kind, count))
    return _send(request, [series.study], kind, [series])


@require_safe
def patient_download(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send all studies of a patient that the caller may see as one file."""
    kind = chosen_format(request)
    patient = get_object_or_404(Patient, public_id=public_id)
    studies = _studies_of(request, patient)
    count = sum(study.number_of_study_related_instances for study in studies)
    details = facts(request, kind, count) | {"study_references": [study.public_id for study in studies[:200]]}
    authorise(request, Capability.STUDY_DOWNLOAD, patient, verb="patient.downloaded", details=details)
    return _send(request, studies, kind)


@require_safe
def export_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show what is prepared for the caller, with progress; answers htmx with the list alone."""
    exports = list(preparing.exports_of(principal_of(request))[:EXPORTS_SHOWN])
    authorise(request, Capability.STUDY_DOWNLOAD, verb="export.listed", details={"export_count": len(exports)})
    is_part = request.headers.get("HX-Request") == "true"
    context = {"exports": exports, "is_working": any(one.state in ("waiting", "running") for one in exports)}
    return render(request, "exports/_exports.html" if is_part else "exports/exports.html", context)


@require_POST
def study_prepare(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Have a study prepared in the background."""
    kind = chosen_format(request)
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="export.requested", details={"format": kind.value})
    return _prepare(request, clinic_slug, [study], kind)


@require_POST
def patient_prepare(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Have all studies of a patient prepared in the background."""
    kind = chosen_format(request)
    patient = get_object_or_404(Patient, public_id=public_id)
    studies = _studies_of(request, patient)
    authorise(request, Capability.STUDY_DOWNLOAD, patient, verb="export.requested", details={"format": kind.value})
    return _prepare(request, clinic_slug, studies, kind)


@require_safe
def export_download(request: HttpRequest, clinic_slug: str, export_id: str) -> HttpResponseBase:
    """Send what was prepared; each study is recorded, and one that may not be seen any more keeps all back."""
    export = get_object_or_404(preparing.exports_of(principal_of(request)), public_id=export_id)
    return send_prepared(request, export)


def _prepare(request: HttpRequest, clinic_slug: str, studies: Sequence[Study], kind: Format) -> HttpResponse:
    try:
        preparing.request_export(principal_of(request), studies, kind)
    except ExportError as error:
        messages.error(request, str(error))
    return redirect("exports", clinic_slug)


def _studies_of(request: HttpRequest, patient: Patient) -> list[Study]:
    """Return the patient's studies that the caller may see: who sees one need not see all; raises Http404 for none."""
    principal = principal_of(request)
    rows = Study.objects.filter(patient=patient).select_related("patient", "clinic").order_by("study_date", "pk")
    studies = [study for study in rows if principal.may_see(study)]
    if not studies:
        raise Http404
    return studies


def chosen_format(request: HttpRequest) -> Format:
    """Return the format that was asked for; raises Http404 for one that there is not."""
    given = request.POST if request.method == "POST" else request.GET
    try:
        return Format(given.get("format", Format.ZIP))
    except ValueError:
        raise Http404 from None


def _send(
    request: HttpRequest, studies: Sequence[Study], kind: Format, series: Sequence[Series] | None = None
) -> HttpResponseBase:
    clinic = studies[0].clinic
    layout = layout_of(clinic, studies, kind, series)
    return respond(
        request,
        size_bytes=layout.size_bytes,
        digest=layout.digest,
        chunks=lambda start, stop: layout.iterate(clinic, start, stop),
        media_type=MEDIA_TYPES[kind],
        name=file_name(studies, kind),
    )
