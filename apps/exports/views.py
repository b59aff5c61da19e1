"""Taking a study, a series or a patient away."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.exports.services import MEDIA_TYPES, Format, file_name, layout_of, respond
from apps.patients.models import Patient
from apps.studies.models import Series, Study


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
    # By the reverse relation's model: who may see one study of a patient need not see all.
    principal = principal_of(request)
    rows = Study.objects.filter(patient=patient).select_related("patient", "clinic").order_by("study_date", "pk")
    studies = [study for study in rows if principal.may_see(study)]
    if not studies:
        raise Http404
    count = sum(study.number_of_study_related_instances for study in studies)
    details = facts(request, kind, count) | {"study_references": [study.public_id for study in studies[:200]]}
    authorise(request, Capability.STUDY_DOWNLOAD, patient, verb="patient.downloaded", details=details)
    return _send(request, studies, kind)


def chosen_format(request: HttpRequest) -> Format:
    """Return the format that was asked for; raises Http404 for one that there is not."""
    try:
        return Format(request.GET.get("format", Format.ZIP))
    except ValueError:
        raise Http404 from None


def facts(request: HttpRequest, kind: Format, instance_count: int) -> dict[str, object]:
    """Return what the trail says of a download; a transfer that goes on after a break says so."""
    found: dict[str, object] = {"format": kind.value, "instance_count": instance_count}
    return found | {"is_resumed": True} if request.headers.get("Range") else found


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
