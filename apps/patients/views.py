"""The page of a patient: all studies in time."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.patients.models import Patient
from apps.patients.queries import namesakes_of, studies_of


@require_safe
def patient(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show a patient with all studies that the caller may see, the newest first; one that was merged leads on."""
    shown = get_object_or_404(Patient.objects.select_related("merged_into"), public_id=public_id)
    authorise(request, Capability.STUDY_VIEW, shown, verb="patient.viewed")
    principal = principal_of(request)
    if shown.merged_into is not None and principal.may_see(shown.merged_into):
        return redirect("patient", clinic_slug, shown.merged_into.public_id)
    context = {"patient": shown, "years": studies_of(shown, principal), "namesakes": namesakes_of(shown, principal)}
    return render(request, "patients/patient.html", context)
