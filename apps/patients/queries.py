"""What the page of a patient shows."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.db.models import Q

from apps.access.services import Principal
from apps.patients.models import IdentityFlag, Patient


def studies_of(patient: Patient, principal: Principal) -> list[tuple[int | None, list[Any]]]:
    """Return the patient's studies by year, the newest first; those without a date come last, under None."""
    # By the reverse relation: the index of studies stands above this room.
    rows = patient.studies.select_related("patient").order_by("-listed_at", "-pk")
    visible = [study for study in rows if principal.may_see(study)]
    visible.sort(key=lambda study: study.study_date is None)
    by_year = groupby(visible, key=lambda study: study.study_date.year if study.study_date else None)
    return [(year, list(studies)) for year, studies in by_year]


def namesakes_of(patient: Patient, principal: Principal) -> list[Patient]:
    """Return the others whom this patient may be, while somebody has to say so."""
    if not patient.is_identity_in_doubt:
        return []
    flags = IdentityFlag.open_ones().filter(Q(first_id=patient.pk) | Q(second_id=patient.pk))
    pks = {pk for pair in flags.values_list("first_id", "second_id") for pk in pair} - {patient.pk}
    others = Patient.objects.filter(pk__in=pks)
    return [other for other in others.order_by("pk")[:20] if principal.may_see(other)]
