"""Putting right of whom studies are: merge, split, move, and taking each of them back.

Files are never touched, so that what a file says of itself stays what it said; a correction moves rows, and the journal
of what it moved undoes it exactly. What it means elsewhere:

- a share link shows the studies it was made for as long as they are of the patient it was made for, who may have been
  merged into somebody meanwhile; it never shows more (`as_shared`);
- who was granted the patient that goes keeps seeing that one's studies and no others: in the merge their access is
  written out as grants to the single studies; undoing takes these back. Who was granted the one that stays sees the
  person whom somebody has said they are, with all studies;
- the audit trail is never rewritten: it names the patient as it was, and the correction's own record names both;
- what arrives later for a merged patient goes where the patient went, and comes back with it.

Numbers are held, then patients locked by row, then studies by row, here and where files are indexed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.access.services import Principal
from apps.accounts.models import Grant, Membership
from apps.audit.services import Entry, record_many
from apps.patients.models import IdentityFlag, Patient
from apps.patients.services import Facts, agrees, create_patient, lock_patients, refresh_doubts
from apps.storage.models import Blob
from apps.storage.services import say_anew
from apps.studies.errors import CorrectionRefusedError
from apps.studies.models import CorrectedStudy, Correction, Document, Instance, Study
from apps.studies.search_columns import rewrite_search_columns

Kind = Correction.Kind


def merge_patients(principal: Principal, source: Patient, target: Patient) -> Correction:
    """Make two patients one: all studies of `source` become `target`'s, whose name and number stay.

    Once more changes nothing and returns the merge there is. Raises CorrectionRefusedError.
    """
    if source.pk == target.pk:
        raise CorrectionRefusedError(_("These are the same patient already."))
    with transaction.atomic():
        locked = _locked_patients(source.pk, target.pk)
        source, target = locked[source.pk], locked[target.pk]
        if source.merged_into_id == target.pk:
            return _merge_of(source)
        if source.merged_into_id is not None or target.merged_into_id is not None:
            raise CorrectionRefusedError(_("One of them has been merged into another patient meanwhile."))
        studies = _locked_studies(Study.objects.filter(patient=source))
        correction = _begin(principal, Kind.MERGE, source, target)
        correction.added_grants = _write_out_grants(source, studies)
        correction.save(update_fields=["added_grants"])
        _give(correction, studies, source, target)
        # Who was merged into the source before follows to the target.
        Patient.objects.filter(merged_into=source).update(merged_into=target)
        source.merged_into = target
        source.save(update_fields=["merged_into"])
        _refresh(source, target)
        _record(principal, "patient.merged", correction, studies)
    return correction


def split_patient(principal: Principal, source: Patient, studies: Iterable[Study], facts: Facts) -> Correction:
    """Give some studies of a patient to a new one with these facts, since they are of two people.

    The facts have to differ from the patient's in number, name or birth date: else nothing that arrives later could be
    told apart. Raises CorrectionRefusedError.
    """
    if agrees(source, facts):
        raise CorrectionRefusedError(
            _("The new patient needs another name, birth date or number, or later images could not be told apart.")
        )
    chosen = {study.pk for study in studies}
    with transaction.atomic():
        locked = _locked_patients(source.pk)
        source = locked[source.pk]
        rows = _locked_studies(Study.objects.filter(pk__in=chosen))
        if not rows or len(rows) != len(chosen) or any(study.patient_id != source.pk for study in rows):
            raise CorrectionRefusedError(_("These studies are not all of this patient any more."))
        target = create_patient(source.clinic, facts)
        correction = _begin(principal, Kind.SPLIT, source, target)
        _give(correction, rows, source, target)
        _refresh(source, target)
        _record(principal, "patient.split", correction, rows)
    return correction


def move_study(principal: Principal, study: Study, target: Patient) -> Correction | None:
    """Give one study to another patient; None when it is there already. Raises CorrectionRefusedError.

    Moving it back to where the last move took it from takes that move back.
    """
    with transaction.atomic():
        # The study's own row is locked last; who moved it in between is seen then.
        source_id = Study.objects.filter(pk=study.pk).values_list("patient_id", flat=True).get()
        locked = _locked_patients(source_id, target.pk)
        source, target = locked[source_id], locked[target.pk]
        [row] = _locked_studies(Study.objects.filter(pk=study.pk))
        if row.patient_id == target.pk:
            return None
        if row.patient_id != source.pk:
            raise CorrectionRefusedError(_("Somebody has moved this study meanwhile. Please look again."))
        if target.merged_into_id is not None:
            raise CorrectionRefusedError(_("This patient has been merged into another one."))
        last = _last_of(row)
        if last is not None and last.kind == Kind.MOVE and last.source_id == target.pk:
            return undo(principal, last)
        correction = _begin(principal, Kind.MOVE, source, target)
        _give(correction, [row], source, target)
        _refresh(source, target)
        _record(principal, "study.moved", correction, [row])
    return correction


def undo(principal: Principal, correction: Correction) -> Correction:
    """Take a correction back: every study it gave away returns, and what arrived in a merged patient's name with it.

    A second time changes nothing. Raises CorrectionRefusedError while a later correction stands on this one.
    """
    with transaction.atomic():
        people = [pk for pk in (correction.source_id, correction.target_id) if pk is not None]
        locked = _locked_patients(*people)
        correction = Correction.objects.select_for_update(no_key=True).get(pk=correction.pk)
        if correction.undone_at is not None:
            return correction
        source, target = locked.get(correction.source_id or 0), locked.get(correction.target_id or 0)
        if source is None or target is None:
            raise CorrectionRefusedError(_("One of the two patients is not there any more."))
        moved = list(CorrectedStudy.objects.filter(correction=correction).values_list("study_id", flat=True))
        studies = _locked_studies(Study.objects.filter(pk__in=moved))
        is_still_merged = correction.kind != Kind.MERGE or source.merged_into_id == target.pk
        if not is_still_merged or any(study.patient_id != target.pk for study in studies):
            raise CorrectionRefusedError(_("Something was changed after this. Take that back first."))
        correction.undone_at, correction.undone_by = timezone.now(), principal.user
        correction.save(update_fields=["undone_at", "undone_by"])
        _return(studies, source)
        _take_back_grants(correction)
        _record(principal, "correction.undone", correction, studies)
        if correction.kind == Kind.MERGE:
            source.merged_into = None
            source.save(update_fields=["merged_into"])
            earlier = Correction.objects.filter(kind=Kind.MERGE, target=source, undone_at=None)
            Patient.objects.filter(pk__in=earlier.values("source_id")).update(merged_into=source)
        elif correction.kind == Kind.SPLIT:
            _dissolve(target)
        _refresh(source, target)
    return correction


def say_different(principal: Principal, flag: IdentityFlag) -> None:
    """Note that two flagged patients are two people; said once more it changes nothing."""
    with transaction.atomic():
        _locked_patients(flag.patient_id, flag.other_id)
        rows = IdentityFlag.objects.filter(pk=flag.pk, resolved_at=None)
        if not rows.update(resolved_at=timezone.now(), resolved_by=principal.user):
            return
        pair = [flag.patient.current, flag.other.current]
        refresh_doubts([patient.pk for patient in pair])
        record_many(
            Entry(
                "identity.confirmed",
                principal.context,
                flag.clinic_id,
                object_kind="identity",
                object_reference=flag.public_id,
                patient_reference=one.public_id,
                details={"other_reference": other.public_id},
            )
            for one, other in (pair, pair[::-1])
        )


def as_shared(since: datetime, at: str = "") -> Q:
    """Return the condition for studies that were not given to somebody else after a link was made; `at` leads to them.

    Merging keeps the person; a move or a split says that the study was another's.
    """
    given_away = CorrectedStudy.objects.filter(
        study=OuterRef(f"{at}pk"),
        correction__undone_at=None,
        correction__kind__in=[Kind.MOVE, Kind.SPLIT],
        correction__created_at__gt=since,
    )
    return ~Q(Exists(given_away))


def own_studies(patient: Patient, since: datetime) -> QuerySet[Study]:
    """Return the studies of a patient as far as people have not put others to them after `since`.

    For what was opened to somebody for this one patient then: one who was merged into another has her own there, and
    one into whom another was merged has not got the other's. What arrives in her name belongs to them.
    """
    put = CorrectedStudy.objects.filter(study=OuterRef("pk"), correction__undone_at=None)
    came_from_there = put.filter(from_patient=patient, correction__kind=Kind.MERGE)
    put_to_them = put.filter(correction__created_at__gt=since).exclude(from_patient=patient)
    if patient.merged_into_id is not None:
        return Study.objects.filter(Q(patient=patient.current) & Q(Exists(came_from_there)))
    return Study.objects.filter(Q(patient=patient) & ~Q(Exists(put_to_them)))


def recent_corrections() -> QuerySet[Correction]:
    """Return what was put right in the clinic, the newest first."""
    rows = Correction.objects.select_related("source", "target", "created_by", "undone_by")
    return rows.order_by("-created_at", "-pk")


def _begin(principal: Principal, kind: Kind, source: Patient, target: Patient) -> Correction:
    return Correction.objects.create(
        clinic_id=source.clinic_id, kind=kind, source=source, target=target, created_by=principal.user
    )


def _locked_studies(rows: QuerySet[Study]) -> list[Study]:
    return list(rows.select_for_update(no_key=True).order_by("pk"))


def _merge_of(source: Patient) -> Correction:
    return Correction.objects.get(kind=Kind.MERGE, source=source, undone_at=None)


def _last_of(study: Study) -> Correction | None:
    rows = CorrectedStudy.objects.filter(study=study, correction__undone_at=None).select_related("correction")
    last = rows.order_by("-correction__created_at", "-correction_id").first()
    return last.correction if last is not None else None


def _give(correction: Correction, studies: Sequence[Study], source: Patient, target: Patient) -> None:
    CorrectedStudy.objects.bulk_create(
        CorrectedStudy(
            clinic_id=correction.clinic_id,
            correction=correction,
            study=study,
            from_patient=source,
            to_patient=target,
        )
        for study in studies
    )
    _return(studies, target)


def _return(studies: Sequence[Study], owner: Patient) -> None:
    for study in studies:
        study.patient = owner
    Study.objects.filter(pk__in=[study.pk for study in studies]).update(patient=owner)
    rewrite_search_columns(studies)
    say_anew(Blob.objects.filter(pk__in=Instance.objects.filter(series__study__in=studies).values("blob")))


def _locked_patients(*pks: int) -> dict[int, Patient]:
    """Return the patients and all who were ever flagged with them: what is decided may end or wake their doubt too."""
    return lock_patients({*pks, *_flagged_with(pks)})


def _flagged_with(pks: Collection[int]) -> set[int]:
    flags = IdentityFlag.objects.filter(Q(patient__in=pks) | Q(other__in=pks))
    return {pk for pair in flags.values_list("patient_id", "other_id") for pk in pair}


def _refresh(*patients: Patient) -> None:
    pks = [patient.pk for patient in patients if patient.pk is not None]
    around = Patient.objects.filter(pk__in=_flagged_with(pks)).values_list("pk", "merged_into_id")
    refresh_doubts({*pks, *(merged_into or pk for pk, merged_into in around)})


def _dissolve(patient: Patient) -> None:
    """Remove the patient that a split made; one that has got studies or documents of its own since stays."""
    own = (Study.objects.filter(patient=patient), Document.objects.filter(patient=patient))
    if any(rows.exists() for rows in own) or Patient.objects.filter(merged_into=patient).exists():
        return
    patient.delete()


def _write_out_grants(source: Patient, studies: Sequence[Study]) -> list[list[str]]:
    """Grant the single studies to whoever was granted this patient; return what was added."""
    if not studies:
        return []
    memberships = Membership.objects.filter(
        clinic_id=source.clinic_id, grants__kind=Grant.Kind.PATIENT, grants__reference=source.public_id
    )
    added = []
    for membership in memberships.order_by("pk"):
        for study in studies:
            _grant, is_new = Grant.objects.get_or_create(
                membership=membership, kind=Grant.Kind.STUDY, reference=study.public_id
            )
            if is_new:
                added.append([membership.public_id, study.public_id])
    return added


def _take_back_grants(correction: Correction) -> None:
    for membership, study in correction.added_grants:
        Grant.objects.filter(
            membership__public_id=membership,
            membership__clinic_id=correction.clinic_id,
            kind=Grant.Kind.STUDY,
            reference=study,
        ).delete()


def _record(principal: Principal, verb: str, correction: Correction, studies: Sequence[Study]) -> None:
    """One record for each of the two patients, and one for each study, each found where somebody looks for it."""
    source, target = correction.source, correction.target
    if source is None or target is None:
        return
    details = {"correction_reference": correction.public_id, "kind": correction.kind, "study_count": len(studies)}
    named = {"object_kind": "correction", "object_reference": correction.public_id}
    entries = [
        Entry(
            verb,
            principal.context,
            correction.clinic_id,
            **named,
            patient_reference=one.public_id,
            details=details | {"other_reference": other.public_id},
        )
        for one, other in ((source, target), (target, source))
    ]
    entries += [
        Entry(
            verb,
            principal.context,
            correction.clinic_id,
            **named,
            patient_reference=study.patient.public_id,
            study_reference=study.public_id,
            details={"correction_reference": correction.public_id, "kind": correction.kind},
        )
        for study in studies
    ]
    record_many(entries)
