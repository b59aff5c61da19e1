"""A clinic's images as plain files that need nothing of ours: folders of DICOM files (PS3.10), each with DICOMDIR.

Each study has a folder with its instances, documents, DICOMDIR and a page with pictures; `INDEX.HTM` lists them all and
opens without a server; `MANIFEST.jsonl` has a line for each file with its SHA-256. A kit that was broken off goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils import timezone

from apps.backup.errors import KitDamagedError, KitFolderError, KitKindError
from apps.backup.kit_key import is_sealed
from apps.backup.kit_manifest import MANIFEST, latest, sha256_of
from apps.backup.kit_places import FolderPlace
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.services import File, files_of
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.services import iterate_blob
from apps.studies.models import Study

INDEX: Final = "INDEX.HTM"
BATCH: Final = 100


@dataclass(frozen=True)
class Written:
    """One study in the kit: its folder, how many files were written now and were there, and what could not be read."""

    study: Study
    folder: str
    new_count: int
    kept_count: int
    failed: tuple[str, ...] = ()


def write_kit(clinic: Clinic, folder: Path) -> Iterator[Written]:
    """Write a clinic's kit below a folder, or complete the one that is there; yield after each study.

    A file that cannot be read is named in what is yielded, and everything else is written. Raises KitFolderError where
    something else lies in the folder or it cannot be written, KitKindError where a sealed kit does. The folder's user
    alone may read it.
    """
    kit = _Kit(clinic, FolderPlace(folder))
    for study in studies_of(clinic):
        with clinic_scope(clinic):
            written = kit.add(study)
        yield written
    kit.finish()


def studies_of(clinic: Clinic) -> Iterator[Study]:
    """Yield a clinic's studies with patient and clinic, the oldest first, some in memory at a time; opens the scope."""
    with clinic_scope(clinic):
        ids = list(Study.objects.order_by("study_date", "pk").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        with clinic_scope(clinic):
            rows = Study.objects.filter(pk__in=ids[start : start + BATCH]).select_related("patient", "clinic")
            by_id = {study.pk: study for study in rows}
        # One that was deleted meanwhile is left out.
        yield from (by_id[study_id] for study_id in ids[start : start + BATCH] if study_id in by_id)


def folder_of(study: Study) -> str:
    """Return the path of a study's folder in a kit."""
    year = f"{study.study_date.year}" if study.study_date else "undated"
    return f"{year}/{study.study_date or 'undated'}-{study.public_id[:8]}"


def verify_kit(folder: Path) -> int:
    """Read every file of a kit again and compare it with the manifest; return how many there are.

    Needs neither database nor keys. Raises KitDamagedError naming the first file that is missing or differs.
    """
    place = FolderPlace(folder)
    lines = latest(place.lines())
    for path, line in lines.items():
        if sha256_of(place.read(path)) != line["sha256"]:
            raise KitDamagedError(path)
    if not lines:
        raise KitDamagedError(MANIFEST)
    return len(lines)


class _Kit:
    def __init__(self, clinic: Clinic, place: FolderPlace) -> None:
        self.clinic, self.place = clinic, place
        self.entries: list[dict[str, Any]] = []
        if is_sealed(place):
            raise KitKindError(is_sealed=True)
        if not place.is_empty() and place.size(MANIFEST) is None:
            raise KitFolderError
        place.prepare()
        # With an empty manifest the folder is known for a kit's, however early this breaks off.
        place.close()
        # What was written before, by path: a line is added once its file is durable.
        self.known = {path: line["sha256"] for path, line in latest(place.lines()).items()}

    def add(self, study: Study) -> Written:
        place = folder_of(study)
        new = kept = 0
        failed: list[str] = []
        try:
            files = files_of([study])
        except StorageError as error:
            # What the directory and the pictures are made from is gone; whatever can be read still goes into the kit.
            failed.append(f"{place}/DICOMDIR: {error}")
            files = files_of([study], has_pages=False)
        for file in files:
            path = f"{place}/{file.path}"
            if self.known.get(path) == file.sha256.hex() and self._is_there(path, file):
                kept += 1
                continue
            try:
                self._write(path, file)
                new += 1
            except StorageError as error:
                failed.append(f"{path}: {error}")
        if files:
            self.entries.append({"study": study, "place": place, "count": len(files)})
        return Written(study, place, new, kept, tuple(failed))

    def finish(self) -> None:
        context = {"clinic": self.clinic, "entries": self.entries, "at": timezone.localtime()}
        page = render_to_string("backup/kit.html", context).encode()
        self._write(INDEX, File(INDEX, timezone.now(), page))
        self.place.close()

    def _is_there(self, path: str, file: File) -> bool:
        return self.place.size(path) == file.size_bytes

    def _write(self, path: str, file: File) -> None:
        digest = hashlib.sha256()

        def chunks() -> Iterator[bytes]:
            for chunk in iterate_blob(file.content) if isinstance(file.content, Blob) else iter([file.content]):
                digest.update(chunk)
                yield chunk

        self.place.write(path, chunks())
        line = {
            "path": path,
            "sha256": digest.hexdigest(),
            "size_bytes": file.size_bytes,
            "stored_at": file.modified_at.isoformat(),
        }
        self.place.note(json.dumps(line))
        self.known[path] = digest.hexdigest()
