"""Putting stored instances into the index: many at once, the same one any number of times, by several workers.

Whoever comes second finds the row of who came first: every level is inserted with its unique key deciding, in one order
(patients, studies, series, instances; each by UID), so that two workers never wait for each other in a circle.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, current_edition, every_clinic
from apps.dicom.parse import Header
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.patients.models import Patient
from apps.patients.services import lacks_facts, lock_patients, pairs_in_doubt, refresh_doubts
from apps.storage.models import Blob
from apps.studies import attribution
from apps.studies.models import Instance, Series, Study
from apps.studies.search_columns import follow_patients, write_search_columns

PREPARE = "studies.prepare_series"
# Preparing waits this long for the rest of a series in arrival; whoever opens it earlier has it made at once.
PREPARE_DELAY = datetime.timedelta(seconds=3)


@dataclass
class _Growth:
    """By how much a series grows."""

    instances: int = 0
    frames: int = 0
    size_bytes: int = 0
    has_pixels: bool = False


def index_instances(
    clinic: Clinic, stored: Sequence[tuple[Header, Blob]], *, patients: Mapping[str, Patient] | None = None
) -> list[Instance]:
    """Index validated instances, and return one row for each, in order.

    `patients`: of whom the studies with these UIDs are, where a person has said so; else the headers name them. A study
    that is here already stays with whom it is: what comes late joins it there.

    A SOP Instance UID that the clinic has already keeps its row and its blob: then the returned row's `blob_id` is
    another than the given one, and the caller says duplicate or conflict. Counts, sizes and ModalitiesInStudy are kept,
    and the preparation of thumbnails and metadata is queued, all in the caller's transaction or one of its own.
    """
    if not stored:
        return []
    with transaction.atomic(savepoint=False):
        first_of: dict[str, tuple[Header, Blob]] = {}
        for header, blob in stored:
            first_of.setdefault(header.sop_instance_uid, (header, blob))
        known = _known_instances(clinic, first_of)
        new = [pair for uid, pair in sorted(first_of.items()) if uid not in known]
        if new:
            studies = _studies(clinic, [header for header, _ in new], patients or {})
            series = _series(clinic, studies, [header for header, _ in new])
            known |= _add(clinic, series, new)
        return [known[header.sop_instance_uid] for header, _ in stored]


def _known_instances(clinic: Clinic, uids: Iterable[str]) -> dict[str, Instance]:
    """Ask in a word first: nearly always there are none."""
    known = Instance.objects.filter(sop_instance_uid__in=list(uids)).values_list("sop_instance_uid", flat=True)
    return _instances(clinic, found) if (found := list(known)) else {}


def _instances(clinic: Clinic, uids: Iterable[str]) -> dict[str, Instance]:
    rows = Instance.objects.filter(clinic=clinic, sop_instance_uid__in=list(uids)).select_related("series__study")
    return {row.sop_instance_uid: row for row in rows}


def _studies(clinic: Clinic, headers: Sequence[Header], chosen: Mapping[str, Patient]) -> dict[str, Study]:
    """Return the locked studies of the headers by UID, made where they are missing.

    Numbers are held, then patients locked, then studies, each in one order: two workers, or a worker and somebody who
    merges patients, never wait for each other in a circle.
    """
    first_of: dict[str, Header] = {}
    for header in headers:
        first_of.setdefault(header.study_instance_uid, header)
    uids = sorted(first_of)
    found = _found_studies(clinic, uids)
    missing = [uid for uid in uids if uid not in found]
    arriving = {uid: study for uid, study in found.items() if uid not in chosen}
    unsaid = [first_of[uid] for uid in missing if uid not in chosen]
    named = attribution.patients_named_by(clinic, unsaid + attribution.contradicted(arriving, first_of))
    doubtful = pairs_in_doubt(patient.pk for patient in named.values() if patient.is_identity_in_doubt)
    named |= {uid: chosen[uid] for uid in missing if uid in chosen}
    contradicted = {uid: found[uid] for uid in named if uid in found}
    lacking = {study.patient_id for uid, study in found.items() if lacks_facts(study.patient, first_of[uid])}
    involved = {patient.pk for patient in named.values()} | {study.patient_id for study in contradicted.values()}
    patients = lock_patients(involved | doubtful | lacking) if involved or lacking else {}
    named = {uid: patients[patient.pk] for uid, patient in named.items()}
    doubtful |= attribution.flag_contradictions(contradicted, named)
    if doubtful:
        refresh_doubts(doubtful)
    named = {uid: patient for uid, patient in named.items() if uid in missing}
    is_completed = attribution.complete_patients(patients, found, named, first_of)
    made = [_study_of(clinic, named[uid].current, first_of[uid]) for uid in missing]
    are_ours = Study.objects.insert_missing(made)
    shared = found if are_ours else found | _found_studies(clinic, missing)
    found = shared | ({study.study_instance_uid: study for study in made} if are_ours else {})
    # Locked in one order, before their rows are written, series are inserted below them or anything is counted: who
    # waits for another's series must not hold that one up. `no_key` because others hold references to these rows.
    # Those that were inserted here nobody else can see before the transaction ends.
    pks = [study.pk for study in shared.values()]
    rows = Study.objects.select_for_update(no_key=True).filter(pk__in=pks).order_by("pk")
    now_of = dict(rows.values_list("pk", "patient_id")) if pks else {}
    if any(now_of.get(study.pk) != study.patient_id for study in shared.values()):
        # Somebody gave one of them to another patient meanwhile.
        found = _found_studies(clinic, uids)
    if missing:
        write_search_columns([found[uid] for uid in missing])
        attribution.note_merges({uid: found[uid] for uid in missing}, named)
    # Whoever a patient was merged into is read beside the locked rows, and may have got another name meanwhile.
    if is_completed or any(patient.merged_into_id for patient in named.values()):
        follow_patients(clinic, {study.patient_id for study in found.values()})
    return found


def _found_studies(clinic: Clinic, uids: Sequence[str]) -> dict[str, Study]:
    rows = Study.objects.filter(clinic=clinic, study_instance_uid__in=uids).select_related("patient")
    return {row.study_instance_uid: row for row in rows}


def _study_of(clinic: Clinic, patient: Patient, header: Header) -> Study:
    return Study(
        clinic=clinic,
        patient=patient,
        study_instance_uid=header.study_instance_uid,
        study_date=header.study_date,
        study_time=header.study_time,
        study_id=_clean(header.study_id, 16),
        accession_number=_clean(header.accession_number, 16),
        study_description=_clean(header.study_description, 64),
        referring_physician_name=_clean(header.referring_physician_name, 324),
        listed_at=_listed_at(header),
        patient_name_folded=patient.patient_name_folded,
        dicom_patient_id=patient.dicom_patient_id,
    )


def _listed_at(header: Header) -> datetime.datetime:
    if header.study_date is None:
        return timezone.now()
    return datetime.datetime.combine(header.study_date, header.study_time or datetime.time.min, tzinfo=datetime.UTC)


def _series(clinic: Clinic, studies: dict[str, Study], headers: Sequence[Header]) -> dict[tuple[str, str], Series]:
    """Return the series of the headers by Study and Series Instance UID."""
    first_of: dict[tuple[str, str], Header] = {}
    for header in headers:
        first_of.setdefault((header.study_instance_uid, header.series_instance_uid), header)
    found = _found_series(clinic, studies, first_of)
    missing = [key for key in sorted(first_of) if key not in found]
    made = [_series_of(clinic, studies[key[0]], first_of[key]) for key in missing]
    if not Series.objects.insert_missing(made):
        return _found_series(clinic, studies, first_of)
    return found | dict(zip(missing, made, strict=True))


def _found_series(
    clinic: Clinic, studies: dict[str, Study], keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Series]:
    wanted = set(keys)
    rows = Series.objects.filter(
        clinic=clinic,
        study__in=list(studies.values()),
        series_instance_uid__in={uid for _, uid in wanted},
    )
    by_pk = {study.pk: study for study in studies.values()}
    found = {}
    for row in rows:
        row.study = by_pk[row.study_id]
        key = (row.study.study_instance_uid, row.series_instance_uid)
        if key in wanted:
            found[key] = row
    return found


def _series_of(clinic: Clinic, study: Study, header: Header) -> Series:
    return Series(
        clinic=clinic,
        study=study,
        series_instance_uid=header.series_instance_uid,
        modality=_clean(header.modality, 16),
        series_number=_number(header.series_number),
        series_description=_clean(header.series_description, 64),
        body_part_examined=_clean(header.body_part_examined, 16),
        series_date=header.series_date,
        series_time=header.series_time,
        sop_class_uid=header.sop_class_uid,
    )


def _add(
    clinic: Clinic, series: dict[tuple[str, str], Series], new: Sequence[tuple[Header, Blob]]
) -> dict[str, Instance]:
    """Insert the instances, let the series and studies grow by those that were really new, and return all of them."""
    made = [
        _instance_of(clinic, series[header.study_instance_uid, header.series_instance_uid], header, blob)
        for header, blob in new
    ]
    rows = {row.sop_instance_uid: row for row in made}
    if not Instance.objects.insert_missing(made):
        # Another worker brought one of them, in another study: the studies of these are locked.
        rows = _instances(clinic, [header.sop_instance_uid for header, _ in new])
    growth: defaultdict[int, _Growth] = defaultdict(_Growth)
    for header, blob in new:
        row = rows[header.sop_instance_uid]
        if row.blob_id == blob.pk:
            grown = growth[row.series_id]
            grown.instances += 1
            grown.frames += row.number_of_frames
            grown.size_bytes += row.size_bytes
            grown.has_pixels |= header.has_pixels
    if growth:
        _grow(clinic, {row.pk: row for row in series.values()}, growth)
    return rows


def _instance_of(clinic: Clinic, series: Series, header: Header, blob: Blob) -> Instance:
    return Instance(clinic=clinic, series=series, **facts_of(header, blob))


def facts_of(header: Header, blob: Blob) -> dict[str, Any]:
    """Return what the row of an instance says about its bytes, by field."""
    return {
        "blob": blob,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "instance_number": _number(header.instance_number),
        "rows": header.rows,
        "columns": header.columns,
        "bits_allocated": header.bits_allocated,
        "number_of_frames": header.number_of_frames if header.has_pixels else 0,
        "pixel_index": header.pixels.to_bytes() if header.pixels is not None else None,
        "size_bytes": blob.size_bytes,
    }


def _grow(clinic: Clinic, series: dict[int, Series], growth: dict[int, _Growth]) -> None:
    study_pks = sorted({series[pk].study_id for pk in growth})
    for pk in sorted(growth):
        grown = growth[pk]
        Series.objects.filter(pk=pk).update(
            number_of_series_related_instances=F("number_of_series_related_instances") + grown.instances,
            number_of_frames=F("number_of_frames") + grown.frames,
            size_bytes=F("size_bytes") + grown.size_bytes,
            **({"has_pixels": True} if grown.has_pixels else {}),
        )
    for pk in study_pks:
        of_study = {series_pk: grown for series_pk, grown in growth.items() if series[series_pk].study_id == pk}
        changes: dict[str, Any] = {
            "number_of_study_related_instances": F("number_of_study_related_instances")
            + sum(grown.instances for grown in of_study.values()),
            "size_bytes": F("size_bytes") + sum(grown.size_bytes for grown in of_study.values()),
            "updated_at": timezone.now(),
        }
        # The series were read after the study was locked.
        if any(not series[series_pk].number_of_series_related_instances for series_pk in of_study):
            changes |= _series_counted(pk)
        Study.objects.filter(pk=pk).update(**changes)
    queue_preparation(clinic, sorted(growth))


def _series_counted(study_pk: int) -> dict[str, Any]:
    """Return how many series of which modalities a locked study has (those with instances), by column."""
    present = Series.objects.filter(study_id=study_pk, number_of_series_related_instances__gt=0)
    modalities = list(present.values_list("modality", flat=True))
    return {"modalities_in_study": join_modalities(modalities), "number_of_study_related_series": len(modalities)}


def join_modalities(modalities: Iterable[str]) -> str:
    """Return the distinct modalities, sorted and divided by backslashes, as many as the column holds."""
    joined = ""
    for modality in sorted({modality for modality in modalities if modality}):
        longer = f"{joined}\\{modality}" if joined else modality
        if len(longer) > 200:
            break
        joined = longer
    return joined


def queue_preparation(clinic: Clinic, series_pks: Sequence[int]) -> None:
    """Queue one job for each series that has none waiting yet, a little later than now."""
    idle = Series.objects.filter(pk__in=series_pks, is_preparation_queued=False)
    pks = list(idle.order_by("pk").values_list("pk", flat=True))
    # The scope of a job is the clinic's own studies; those of a de-identified copy have to be asked for by its name.
    edition = current_edition()
    for pk in pks:
        payload: dict[str, object] = {"series": pk} | ({"edition": edition} if edition else {})
        enqueue(PREPARE, payload, clinic=clinic, run_after=timezone.now() + PREPARE_DELAY)
    Series.objects.filter(pk__in=pks).update(is_preparation_queued=True)


def queue_left_over_preparation() -> int:
    """Queue a job for each series that is not prepared and has none; return how many.

    Workers that die, or a place that is away for long, use up all tries of a job, and nothing else would begin anew.
    """
    unfinished = Job.objects.filter(kind=PREPARE, state__in=[Job.State.QUEUED, Job.State.RUNNING])
    expected = set(unfinished.values_list("payload__series", flat=True))
    with every_clinic():
        stale = Series.objects.exclude(metadata_instance_count=F("number_of_series_related_instances"))
        rows = stale.order_by("clinic_id", "edition", "pk").values_list("clinic_id", "edition", "pk")
        left = [row for row in rows if row[2] not in expected]
        clinics = Clinic.objects.in_bulk({clinic_id for clinic_id, _, _ in left})
    for (clinic_id, edition), group in groupby(left, key=itemgetter(0, 1)):
        with clinic_scope(clinics[clinic_id], edition=edition):
            pks = [pk for _, _, pk in group]
            Series.objects.filter(pk__in=pks).update(is_preparation_queued=False)
            queue_preparation(clinics[clinic_id], pks)
    return len(left)


def _clean(text: str, length: int) -> str:
    """Return the text as a column can hold it: no NUL (PostgreSQL refuses it), no longer than the column."""
    return text.replace("\0", "")[:length]


def _number(value: int | None) -> int | None:
    """Return the number if a column can hold it; an IS value may be larger (PS3.5 6.2)."""
    return value if value is not None and -(1 << 31) <= value < 1 << 31 else None
