"""What a page of the way in names: found for whoever may see it, else not there."""

from __future__ import annotations

from django.http import Http404
from django.shortcuts import get_object_or_404

from apps.access.services import Principal
from apps.patients.models import Patient
from apps.studies.models import Study


def study_or_404(principal: Principal, public_id: str) -> Study | None:
    """Return the study of this public id, None without one; Http404 when it is not there for whoever asks."""
    if not public_id:
        return None
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    if not principal.may_see(study):
        raise Http404
    return study


def patient_or_404(principal: Principal, public_id: str) -> Patient | None:
    """Return the patient of this public id, None without one; Http404 when they are not there for whoever asks."""
    if not public_id:
        return None
    patient = get_object_or_404(Patient, public_id=public_id)
    if not principal.may_see(patient):
        raise Http404
    return patient
