"""The inbox: what came by upload requests, looked at, assigned to a patient, or refused."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise, authorise_covered, principal_of
from apps.accounts.roles import Capability
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.ingest import inbox
from apps.ingest.errors import IngestError
from apps.ingest.models import Upload, WaitingStudy
from apps.patients.forms import PatientSearchForm, PersonForm
from apps.patients.models import Patient
from apps.patients.services import likely_patients, search_patients
from apps.storage.errors import StorageError
from apps.storage.services import open_blob

ROWS_ON_A_PAGE = 50
SETTLED_SHOWN = 20


@require_safe
def inbox_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List what waits for a decision, and the latest decisions."""
    authorise(request, Capability.INBOX_MANAGE, verb="arrival.listed")
    principal = principal_of(request)
    page = Paginator(inbox.waiting(principal), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "settled": inbox.settled(principal)[:SETTLED_SHOWN]}
    return render(request, "ingest/inbox.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def inbox_item(request: HttpRequest, clinic_slug: str, arrival_id: str) -> HttpResponse:
    """Show one arrival with pictures and with the patients it may be of; POST looks for others."""
    arrival = _arrival(arrival_id)
    search = PatientSearchForm(request.POST if request.method == "POST" else None)
    found = search_patients(search.cleaned_data["words"]) if search.is_bound and search.is_valid() else []
    return _show(request, arrival, search=search, found=found, person=PersonForm.about(arrival))


def _show(
    request: HttpRequest,
    arrival: WaitingStudy,
    *,
    search: PatientSearchForm,
    found: Sequence[Patient],
    person: PersonForm,
    status: int = 200,
) -> HttpResponse:
    here = inbox.study_here(arrival)
    likely = [] if here else likely_patients(arrival)
    shown = [*[one.patient for one in likely], *found, *([here.patient] if here else [])]
    details = {"patient_references": sorted({patient.public_id for patient in shown})} if shown else None
    authorise(request, Capability.INBOX_MANAGE, arrival, verb="arrival.viewed", details=details)
    context = {
        "arrival": arrival,
        "here": here,
        "likely": likely,
        "found": found,
        "search": search,
        "person": person,
        "previews": inbox.previews(arrival),
        "is_waiting": arrival.state == WaitingStudy.State.WAITING,
        "modalities": [modality for modality in arrival.modalities.split("\\") if modality],
    }
    return render(request, "ingest/inbox_item.html", context, status=status)


@require_safe
def inbox_preview(request: HttpRequest, clinic_slug: str, arrival_id: str, upload_id: str) -> HttpResponse:
    """Return a small picture of one file that waits."""
    arrival = _arrival(arrival_id)
    upload = get_object_or_404(
        Upload.objects.select_related("blob"), arrival=arrival, public_id=upload_id, blob__isnull=False
    )
    authorise_covered(request, Capability.INBOX_MANAGE, arrival, verb="arrival.viewed")
    if upload.blob is None:
        raise Http404
    try:
        with open_blob(upload.blob) as file:
            picture = limited.thumbnail(file)
    except (DicomError, StorageError):
        raise Http404 from None
    return HttpResponse(picture, content_type="image/jpeg")


@require_POST
def inbox_assign(request: HttpRequest, clinic_slug: str, arrival_id: str) -> HttpResponse:
    """Say whose an arrival is: of a patient chosen from the page, or of a new one."""
    principal = principal_of(request)
    arrival = _arrival(arrival_id)
    chosen = request.POST.get("patient", "")
    try:
        if chosen:
            patient = get_object_or_404(Patient.objects.select_related("merged_into"), public_id=chosen)
            inbox.assign(principal, arrival, patient)
        else:
            form = PersonForm(request.POST)
            if not form.is_valid():
                return _show(request, arrival, search=PatientSearchForm(), found=(), person=form, status=400)
            inbox.assign_new(principal, arrival, form.facts(issuer=arrival.issuer_of_patient_id))
    except IngestError as error:
        messages.error(request, str(error))
        return redirect("inbox-item", clinic_slug, arrival_id)
    messages.success(request, _("Assigned. The images appear with the patient in a moment."))
    return redirect("inbox", clinic_slug)


@require_http_methods(["GET", "HEAD", "POST"])
def inbox_reject(request: HttpRequest, clinic_slug: str, arrival_id: str) -> HttpResponse:
    """Ask once more, then refuse an arrival for good."""
    arrival = _arrival(arrival_id)
    if request.method != "POST":
        authorise(request, Capability.INBOX_MANAGE, arrival, verb="arrival.viewed")
        return render(request, "ingest/inbox_reject.html", {"arrival": arrival})
    try:
        inbox.reject(principal_of(request), arrival)
    except IngestError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Refused. The files are destroyed."))
    return redirect("inbox", clinic_slug)


def _arrival(public_id: str) -> WaitingStudy:
    rows = WaitingStudy.objects.select_related("request__link__clinic", "patient", "settled_by")
    return get_object_or_404(rows, public_id=public_id)
