"""The child's side of a restore beside what is there: an older database in an empty directory, read out over a pipe.

Each item is a line of JSON, followed by as many bytes as it says: nothing plain ever lies on a disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from django.db import connections
from django.db.models import Q

from apps.backup.engines import engine_below
from apps.backup.errors import BackupError, RestoreRefusedError
from apps.backup.examining import bring_up_to_date
from apps.backup.restoring import restore_database
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.services import iterate_blob, read_erasures
from apps.studies.models import Document, Instance, Study


@dataclass(frozen=True)
class Selection:
    """What is wanted of which clinic, from where, as of when (ISO 8601). Without study and patient: all of it."""

    place: str
    at: str
    clinic: str
    """Slug."""
    study: str = ""
    """Public id or Study Instance UID."""
    patient: str = ""
    """Public id."""


def read_out(selection: Selection, work: Path, out: IO[bytes]) -> None:
    """Restore the database as of then and write what was selected; errors of single items are items themselves."""
    engine = engine_below(work)
    try:
        at = datetime.fromisoformat(selection.at)
        restored = restore_database(engine, work / "fetched", place=selection.place, at=at)
        connections.close_all()
        bring_up_to_date()
        with every_clinic():
            Blob.objects.update(place=selection.place)
        clinic = Clinic.objects.filter(slug=selection.clinic).first()
        if clinic is None:
            raise RestoreRefusedError(f"There was no clinic {selection.clinic} then.", selection.clinic)
        with clinic_scope(clinic):
            studies, papers = _selected(clinic, selection)
            for study in studies:
                for item, blob in _instances(study):
                    _write(item, blob, out)
            _line({"kind": "documents"}, out)
            for document in papers:
                _write(_document_item(document), document.blob, out)
        _line({"kind": "end", "until": restored.until.isoformat(), "study_count": len(studies)}, out)
    except (BackupError, StorageError, KeyUnavailableError) as error:
        _line({"kind": "refused", "message": str(error)}, out)
    finally:
        connections.close_all()
        engine.close()


def _selected(clinic: Clinic, selection: Selection) -> tuple[list[Study], list[Document]]:
    """Return the studies that are wanted, and the documents of them and of the patients that are."""
    wanted, of_patients = Q(), Q(patient__isnull=False)
    if selection.study:
        wanted = Q(public_id=selection.study) | Q(study_instance_uid=selection.study)
        of_patients = Q(pk__in=[])
    elif selection.patient:
        wanted = Q(patient__public_id=selection.patient)
        of_patients = Q(patient__public_id=selection.patient) | Q(patient__merged_into__public_id=selection.patient)
    found = list(Study.objects.filter(wanted).select_related("patient").order_by("pk"))
    papers = Document.objects.filter(Q(study__in=found) | of_patients).select_related("study", "patient", "blob")
    found_papers = list(papers.order_by("pk"))
    if not found and not found_papers:
        raise RestoreRefusedError("No such study was there then.", selection.study or selection.patient)
    # What was destroyed on purpose stays destroyed, whoever asks (BAK-07).
    studies: set[str] = set()
    patients: set[str] = set()
    documents: set[str] = set()
    for entry in read_erasures():
        if entry.clinic_reference == clinic.public_id:
            studies.update(entry.studies)
            patients.update(entry.patients)
            documents.update(entry.documents)
            if entry.is_of_clinic:
                raise RestoreRefusedError("Everything of this clinic was destroyed on purpose.", selection.clinic)
    kept = [each for each in found if each.public_id not in studies and each.patient.public_id not in patients]
    kept_papers = [
        each
        for each in found_papers
        if each.public_id not in documents
        and (each.study in kept if each.study else each.patient is not None and each.patient.public_id not in patients)
    ]
    if not kept and not kept_papers:
        raise RestoreRefusedError("It was destroyed on purpose since then, and stays destroyed.", selection.study)
    return kept, kept_papers


def _instances(study: Study) -> Iterator[tuple[dict[str, str], Blob]]:
    for instance in Instance.objects.filter(series__study=study).select_related("blob").order_by("pk"):
        yield {"kind": "instance", "name": f"{instance.pk}.dcm"}, instance.blob


def _document_item(document: Document) -> dict[str, str]:
    item = {
        "kind": "document",
        "name": document.title,
        "public_id": document.public_id,
        "sha256": bytes(document.blob.sha256).hex(),
    }
    if document.study is not None:
        return item | {"study": document.study.study_instance_uid}
    patient = document.owner
    return item | {"patient": patient.public_id, "identity_key": patient.identity_key}


def _write(item: dict[str, str], blob: Blob, out: IO[bytes]) -> None:
    try:
        pieces = iterate_blob(blob)
        first = next(pieces, b"")
    except (StorageError, KeyUnavailableError) as error:
        _line({"kind": "failed", "item": f"blob {blob.public_id}", "message": str(error)}, out)
        return
    _line({**item, "size_bytes": blob.size_bytes}, out)
    out.write(first)
    # Damage from here on ends the process, and with it the pipe: no short item passes for a whole one.
    for piece in pieces:
        out.write(piece)


def _line(values: Mapping[str, object], out: IO[bytes]) -> None:
    out.write(json.dumps(values).encode() + b"\n")
    out.flush()
