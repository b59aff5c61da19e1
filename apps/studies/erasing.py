"""Destroying a study, a patient or a clinic for good, so that no copy anywhere can be read any more.

What is destroyed are keys: those of the blobs, or the clinic's own. First the list of erasures in every place says so,
so that neither a restore nor `rebuild_index` brings anything back; then rows and keys go in one transaction; then the
bytes, and the keyring is written anew without the keys. When the last copy of them is gone says the certificate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from apps.access.services import Principal
from apps.audit.services import Context, record
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.patients.models import Patient
from apps.storage.errors import StorageError
from apps.storage.models import Blob, Erasure
from apps.storage.services import (
    ErasureEntry,
    announce_erasure,
    destroy,
    destroy_keys_of,
    known_erasures,
    living_blobs,
    new_erasure,
    read_erasures,
    remember_erasure,
    write_keyring,
)
from apps.studies.models import Document, Instance, Series, Study

log = logging.getLogger(__name__)


@dataclass
class Doomed:
    """All that goes with some studies: their de-identified copies too. Other rooms add their blobs."""

    clinic: Clinic
    studies: list[Study]
    patients: list[Patient]
    documents: list[Document]
    blobs: set[str] = field(default_factory=set)
    """Public ids."""

    def add(self, blobs: QuerySet[Blob]) -> None:
        """Take these blobs along."""
        self.blobs |= set(blobs.filter(wrapped_key__isnull=False).values_list("public_id", flat=True))


Reach = Callable[[Doomed], Callable[[], None]]
_reaches: list[Reach] = []


def goes_along(reach: Reach) -> Reach:
    """Register what else holds something of a study: it adds its blobs, and returns what clears its own rows.

    Both are called with scopes lifted, the latter in the transaction that destroys.
    """
    _reaches.append(reach)
    return reach


@dataclass
class Replayed:
    """What a replay destroyed once more."""

    erasure_count: int = 0
    study_count: int = 0
    blob_count: int = 0


def erase_studies(principal: Principal, studies: Iterable[Study], *, kind: str, reference: str) -> Erasure:
    """Destroy studies of the principal's clinic with all that was made of them; `kind`, `reference`: why they go."""
    with every_clinic():
        doomed = _doomed(principal.clinic, Q(pk__in=[study.pk for study in studies]), [])
    return _erase(principal, doomed, kind, reference)


def erase_patient(principal: Principal, patient: Patient) -> Erasure:
    """Destroy everything of a patient, and of those who were merged into them, the rows that name them too."""
    with every_clinic():
        people = list(Patient.objects.filter(Q(pk=patient.pk) | Q(merged_into=patient)))
        ids = [one.pk for one in people]
        references = [one.public_id for one in people]
        copies = Patient.objects.filter(clinic=principal.clinic, source_reference__in=references)
        doomed = _doomed(principal.clinic, Q(patient__in=ids), [*people, *copies])
    return _erase(principal, doomed, Erasure.Kind.PATIENT, patient.public_id)


def erase_clinic(clinic: Clinic, *, context: Context) -> Erasure:
    """Destroy everything that a clinic has stored, and its keys; the clinic is closed. Its trail stays."""
    with every_clinic():
        everybody = list(Patient.objects.filter(clinic=clinic))
        doomed = _doomed(clinic, Q(clinic=clinic), everybody)
        doomed.add(Blob.objects.filter(clinic=clinic))
        Clinic.objects.filter(pk=clinic.pk, suspended_at=None).update(suspended_at=timezone.now())
    principal = Principal("system", clinic, frozenset(), context)
    erasure = _erase(principal, doomed, Erasure.Kind.CLINIC, clinic.public_id)
    destroy_keys_of(clinic, erasure.erased_at)
    return erasure


def replay_erasures(*, context: Context) -> Replayed:
    """Destroy once more whatever an older copy of the database brought back; to be called after every restore.

    Reads the list in every place, and the database's own. Needs the master key and no scope; doing it twice does no
    harm. Raises PlaceUnavailableError when a place does not answer: the restore is not over then.
    """
    result = Replayed()
    entries = {entry.public_id: entry for entry in (*known_erasures(), *read_erasures())}
    for entry in sorted(entries.values(), key=lambda each: each.erased_at):
        clinic = Clinic.objects.filter(pk=entry.clinic, public_id=entry.clinic_reference).first()
        if clinic is None:
            continue
        studies, blobs = _replay(clinic, entry, context)
        result.erasure_count += bool(studies or blobs)
        result.study_count += studies
        result.blob_count += blobs
    write_keyring()
    return result


def _replay(clinic: Clinic, entry: ErasureEntry, context: Context) -> tuple[int, int]:
    with every_clinic():
        wanted = Q(public_id__in=entry.studies) | Q(patient__public_id__in=entry.patients)
        if entry.is_of_clinic:
            wanted = Q(clinic=clinic, created_at__lte=entry.erased_at)
        people = Patient.objects.filter(clinic=clinic)
        chosen = people.filter(created_at__lte=entry.erased_at) if entry.is_of_clinic else people.filter(
            public_id__in=entry.patients
        )  # fmt: skip
        doomed = _doomed(clinic, wanted, list(chosen))
        if entry.is_of_clinic:
            doomed.add(Blob.objects.filter(clinic=clinic, created_at__lte=entry.erased_at))
        with clinic_scope(clinic):
            doomed.blobs |= {blob.public_id for blob in living_blobs(entry.blobs)}
    is_nothing = not (doomed.studies or doomed.patients or doomed.blobs)
    with clinic_scope(clinic):
        remember_erasure(entry)
    if entry.is_of_clinic:
        destroy_keys_of(clinic, datetime.fromisoformat(entry.erased_at))
    if is_nothing:
        return 0, 0
    count = len(doomed.studies), len(doomed.blobs)
    _destroy(doomed)
    details: dict[str, str | int | bool | list[str] | None] = {"study_count": count[0], "blob_count": count[1]}
    record(
        f"{entry.kind}.erased",
        context=context,
        clinic_id=clinic.pk,
        object_kind=entry.kind,
        object_reference=entry.reference,
        details=details | {"is_replayed": True},
    )
    return count


def _doomed(clinic: Clinic, which: Q, people: Sequence[Patient]) -> Doomed:
    """Return what goes with these studies and patients; scopes are lifted."""
    chosen = list(Study.objects.filter(which, clinic=clinic))
    references = [study.public_id for study in chosen]
    copies = Study.objects.filter(clinic=clinic, source_reference__in=references)
    studies = list({study.pk: study for study in (*chosen, *copies)}.values())
    papers = Document.objects.filter(Q(study__in=studies) | Q(patient__in=people), clinic=clinic)
    doomed = Doomed(clinic, studies, list(people), list(papers))
    doomed.add(Blob.objects.filter(pk__in=Instance.objects.filter(series__study__in=studies).values("blob")))
    series = Series.objects.filter(study__in=studies)
    for column in ("metadata_blob", "thumbnail_blob"):
        doomed.add(Blob.objects.filter(pk__in=series.values(column)))
    doomed.add(Blob.objects.filter(pk__in=papers.values("blob")))
    return doomed


def _erase(principal: Principal, doomed: Doomed, kind: str, reference: str) -> Erasure:
    with every_clinic():
        for reach in _reaches:
            reach(doomed)
        size_bytes = Blob.objects.filter(public_id__in=doomed.blobs).aggregate(size=Sum("size_bytes"))["size"] or 0
        entry = new_erasure(
            doomed.clinic,
            kind,
            reference,
            actor_kind=principal.context.actor_kind,
            actor_reference=principal.context.actor_reference,
            studies=[study.public_id for study in doomed.studies],
            patients=[patient.public_id for patient in doomed.patients],
            documents=[document.public_id for document in doomed.documents],
            blobs=sorted(doomed.blobs),
        )
        erasure = announce_erasure(entry)
        Erasure.objects.filter(pk=erasure.pk).update(size_bytes=size_bytes)
        erasure.size_bytes = size_bytes
    record(
        f"{kind}.erased",
        context=principal.context,
        clinic_id=doomed.clinic.pk,
        object_kind=kind,
        object_reference=reference,
        details={"study_count": len(doomed.studies), "blob_count": len(doomed.blobs), "size_bytes": size_bytes},
    )
    _destroy(doomed)
    try:
        write_keyring()
    except StorageError as error:
        # The clock goes on with it.
        log.warning("the keyring still has keys of what was destroyed", extra={"code": error.code})
    return erasure


def _destroy(doomed: Doomed) -> None:
    with every_clinic():
        clearing = [reach(doomed) for reach in _reaches]
        with transaction.atomic():
            for clear in clearing:
                clear()
            Document.objects.filter(pk__in=[document.pk for document in doomed.documents]).delete()
            ids = [study.pk for study in doomed.studies]
            Instance.objects.filter(series__study__in=ids).delete()
            Series.objects.filter(study__in=ids).delete()
            Study.objects.filter(pk__in=ids).delete()
            # Who was merged goes before whom they became.
            people = [patient.pk for patient in doomed.patients]
            Patient.objects.filter(pk__in=people, merged_into__isnull=False).delete()
            Patient.objects.filter(pk__in=people).delete()
            destroy(living_blobs(doomed.blobs))
