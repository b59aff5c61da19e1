"""Where people put right of whom studies are: identities in doubt, merge, split, move, and taking that back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import Auditable, authorise, principal_of
from apps.accounts.roles import Capability
from apps.patients.forms import PatientSearchForm, PersonForm
from apps.patients.models import IdentityFlag, Patient
from apps.patients.services import likely_patients, search_patients
from apps.studies import corrections
from apps.studies.errors import CorrectionRefusedError
from apps.studies.models import Correction, Study

ROWS_ON_A_PAGE = 30
MANAGE = Capability.IDENTITY_MANAGE


@require_safe
def identities(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List the pairs of patients of whom somebody has to say whether they are one."""
    rows = IdentityFlag.open_ones().select_related("patient__merged_into", "other__merged_into")
    page = Paginator(rows.order_by("created_at", "pk"), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    pairs = [(flag, flag.patient.current, flag.other.current) for flag in page.object_list]
    shown = _references(patient for _flag, *pair in pairs for patient in pair)
    authorise(request, MANAGE, verb="identity.listed", details={"patient_references": shown})
    people = [(flag, [(patient, patient.studies.count()) for patient in pair]) for flag, *pair in pairs]
    return render(request, "studies/identities.html", {"page": page, "pairs": people})


@require_POST
def identity_different(request: HttpRequest, clinic_slug: str, flag_id: str) -> HttpResponse:
    """Note that the two are two people."""
    flag = get_object_or_404(
        IdentityFlag.objects.select_related("patient__merged_into", "other__merged_into"), public_id=flag_id
    )
    corrections.say_different(principal_of(request), flag)
    messages.success(request, _("They stay two patients. You will not be asked about them again."))
    return redirect("identities", clinic_slug)


@require_http_methods(["GET", "HEAD", "POST"])
def patient_merge(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask with whom a patient is to be made one, and do it; POST without a choice looks for somebody."""
    patient = _patient(public_id)
    if request.method == "POST" and request.POST.get("patient"):
        other = _patient(request.POST["patient"])
        # The button pressed says whose name and number stay.
        source, target = (other, patient) if request.POST.get("keep") == "this" else (patient, other)
        try:
            corrections.merge_patients(principal_of(request), source, target)
        except CorrectionRefusedError as error:
            messages.error(request, str(error))
            return redirect("patient-merge", clinic_slug, public_id)
        messages.success(request, _("They are one patient now. This can be taken back under Corrections."))
        return redirect("patient", clinic_slug, target.public_id)
    context = _candidates(request, patient, patient)
    return render(request, "studies/patient_merge.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def patient_split(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask which studies are of somebody else and of whom, and make that patient."""
    patient = _patient(public_id)
    rows = list(Study.objects.filter(patient=patient).select_related("patient").order_by("-listed_at", "-pk"))
    form = PersonForm(request.POST) if request.method == "POST" else PersonForm.about(patient)
    chosen = set(request.POST.getlist("studies"))
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                done = corrections.split_patient(
                    principal_of(request), patient, [row for row in rows if row.public_id in chosen], form.facts()
                )
            except CorrectionRefusedError as error:
                form.add_error(None, str(error))
                status = 409
            else:
                messages.success(request, _("They are two patients now. This can be taken back under Corrections."))
                return redirect("patient", clinic_slug, done.target.public_id if done.target else public_id)
    authorise(request, MANAGE, patient, verb="correction.prepared")
    context = {"patient": patient, "studies": rows, "form": form, "chosen": chosen}
    return render(request, "studies/patient_split.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def study_move(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask whose a study is, and give it there; POST without a choice looks for somebody."""
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    if request.method == "POST" and request.POST.get("patient"):
        target = _patient(request.POST["patient"])
        try:
            corrections.move_study(principal_of(request), study, target)
        except CorrectionRefusedError as error:
            messages.error(request, str(error))
            return redirect("study-move", clinic_slug, public_id)
        messages.success(request, _("The study has moved. This can be taken back under Corrections."))
        return redirect("study", clinic_slug, public_id)
    context = _candidates(request, study, study.patient)
    return render(request, "studies/study_move.html", context | {"study": study})


@require_safe
def correction_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List what was put right, the newest first, each with the way back."""
    page = Paginator(corrections.recent_corrections(), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    shown = _references(
        patient for row in page.object_list for patient in (row.source, row.target) if patient is not None
    )
    authorise(request, MANAGE, verb="correction.listed", details={"patient_references": shown})
    return render(request, "studies/corrections.html", {"page": page})


@require_POST
def correction_undo(request: HttpRequest, clinic_slug: str, correction_id: str) -> HttpResponse:
    """Take one correction back."""
    correction = get_object_or_404(Correction, public_id=correction_id)
    try:
        corrections.undo(principal_of(request), correction)
        messages.success(request, _("Taken back: everything is where it was."))
    except CorrectionRefusedError as error:
        messages.error(request, str(error))
    return redirect("corrections", clinic_slug)


def _candidates(request: HttpRequest, obj: Auditable, patient: Patient) -> dict[str, object]:
    """Return the patients that may be meant, after recording that they are shown."""
    search = PatientSearchForm(request.POST if request.method == "POST" else None)
    found = search_patients(search.cleaned_data["words"]) if search.is_bound and search.is_valid() else []
    likely = [one.patient for one in likely_patients(patient)]
    others = _others(likely, patient)
    found = _others(found, patient)
    shown = _references([*others, *found])
    authorise(request, MANAGE, obj, verb="correction.prepared", details={"patient_references": shown})
    return {"patient": patient, "likely": others, "found": found, "search": search}


def _others(people: Sequence[Patient], patient: Patient) -> list[Patient]:
    return [one for one in people if one.pk != patient.pk]


def _references(people: Iterable[Patient]) -> list[str]:
    return sorted({patient.public_id for patient in people})


def _patient(public_id: str) -> Patient:
    return get_object_or_404(Patient.objects.select_related("merged_into"), public_id=public_id)
