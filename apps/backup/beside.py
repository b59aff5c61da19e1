"""A study, a patient or a clinic as it was, brought into the running portal beside what is there.

What comes back goes the way of every image: one that is there already is a duplicate, one that is missing is stored
again, and one that differs waits as a second version until somebody decides which counts. Nothing is replaced.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings
from django.db.models import Q

from apps.access.services import Principal, import_principal
from apps.audit.services import record
from apps.backup.continuous import folder
from apps.backup.drilling import child_environment
from apps.backup.errors import BackupError, RestoreRefusedError
from apps.backup.older import Selection
from apps.clinics.models import Clinic, make_public_id
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import UploadBatch
from apps.ingest.services import Arrival, close_batch, is_on_its_way, open_batch, receive, store_arrivals
from apps.keys.services import load_master_key
from apps.patients.models import Patient
from apps.studies.models import Document, Study

CHUNK_BYTES: Final = 1 << 20


@dataclass
class Brought:
    """What became of everything: outcomes of the images, documents taken, and what could not be read."""

    outcomes: Counter[str] = field(default_factory=Counter)
    document_count: int = 0
    study_count: int = 0
    until: str = ""
    failures: list[str] = field(default_factory=list)


def restore_beside(selection: Selection) -> Brought:
    """Bring back what is selected; raises BackupError, RestoreRefusedError, and what storing an image raises."""
    clinic = Clinic.objects.filter(slug=selection.clinic).first()
    if clinic is None:
        raise RestoreRefusedError(f"There is no clinic {selection.clinic} here.", selection.clinic)
    principal = import_principal(clinic, "restore")
    details: dict[str, Any] = {"place": selection.place, "until_at": selection.at}
    record(
        "backup.restored",
        context=principal.context,
        clinic_id=clinic.pk,
        object_kind="study" if selection.study else "patient" if selection.patient else "clinic",
        object_reference=selection.study or selection.patient or clinic.public_id,
        details=details,
    )
    work = folder() / f"older-{make_public_id()}"
    (work / "data").mkdir(mode=0o700, parents=True)
    try:
        return _bring(selection, principal, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _bring(selection: Selection, principal: Principal, work: Path) -> Brought:
    child = subprocess.Popen(
        [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "restore", "--child", str(work)],
        cwd=settings.BASE_DIR,
        env=child_environment(selection.place, work / "data", load_master_key()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin  # noqa: S101  # a pipe, as asked for
    assert child.stdout  # noqa: S101
    try:
        child.stdin.write(json.dumps(asdict(selection)).encode())
        child.stdin.close()
        items = _Items(child.stdout)
        with clinic_scope(principal.clinic):
            batch = open_batch(principal, UploadBatch.Source.IMPORT)
            for finding in store_arrivals(principal, batch, items.instances()):
                items.brought.outcomes[finding.upload.state] += 1
            close_batch(batch)
            for entry, content in items.documents():
                items.brought.document_count += _bring_document(principal, entry, content)
        if not items.is_over:
            raise BackupError("Reading the backup broke off; what was reported so far is safe.", selection.place)
        return items.brought
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


class _Content:
    """The bytes of one item, read once; what its taker leaves is read away."""

    def __init__(self, source: IO[bytes], size_bytes: int) -> None:
        self._source, self._left = source, size_bytes

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            piece = self._source.read(min(CHUNK_BYTES, self._left))
            if not piece:
                raise BackupError("Reading the backup broke off; what was reported so far is safe.")
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Get to the next item."""
        for _piece in self:
            pass


class _Items:
    """What comes over the pipe, one after the other: first the instances, then the documents."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.brought = Brought()
        self.is_over = False

    def instances(self) -> Iterator[Arrival]:
        """Yield each instance; its bytes are there until the next one is asked for."""
        for item, content in self._items("instance"):
            yield Arrival(item["name"], content)

    def documents(self) -> Iterator[tuple[dict[str, Any], Iterable[bytes]]]:
        """Yield each document as `instances` does, with what is said of it."""
        return self._items("document")

    def _items(self, kind: str) -> Iterator[tuple[dict[str, Any], Iterable[bytes]]]:
        while line := self._source.readline():
            item = json.loads(line)
            if item["kind"] == kind:
                content = _Content(self._source, item["size_bytes"])
                yield item, content
                content.drain()
            elif item["kind"] == "failed":
                self.brought.failures.append(f"{item['item']}: {item['message']}")
            elif item["kind"] == "refused":
                raise RestoreRefusedError(item["message"])
            elif item["kind"] == "documents":
                return
            else:
                self.brought.until, self.brought.study_count = item["until"], item["study_count"]
                self.is_over = True


def _bring_document(principal: Principal, entry: dict[str, Any], content: Iterable[bytes]) -> int:
    """Add a document to its study or patient, unless it is there; a worker examines it as any other."""
    study = patient = None
    if "study" in entry:
        study = Study.objects.filter(study_instance_uid=entry["study"]).first()
    else:
        # One whose row was lost is known by what told them from the others.
        known = Patient.objects.filter(public_id=entry["patient"]).first()
        known = known or Patient.objects.filter(identity_key=entry["identity_key"]).first()
        patient = known.current if known else None
    if study is None and patient is None:
        return 0
    # One that was brought back before has another public id, and the same content.
    sha256 = bytes.fromhex(entry["sha256"])
    same = Q(public_id=entry["public_id"]) | Q(study=study, patient=patient, blob__sha256=sha256)
    # In this order: a worker may make a document of what is on its way meanwhile.
    if is_on_its_way(sha256, study=study, patient=patient) or Document.objects.filter(same).exists():
        return 0
    batch = open_batch(principal, UploadBatch.Source.IMPORT, study=study, patient=patient)
    receive(principal, batch, entry["name"], content)
    close_batch(batch)
    return 1
