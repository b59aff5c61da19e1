"""A clinic's images as plain files that need nothing of ours: folders of DICOM files (PS3.10), each with DICOMDIR.

Each study has a folder with its instances, documents, DICOMDIR and a page with pictures; `INDEX.HTM` lists them all and
opens without a server; `MANIFEST.jsonl` has a line for each file with its SHA-256. A kit that was broken off goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils import timezone

from apps.backup.errors import KitDamagedError, KitFolderError
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.services import File, files_of
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.services import iterate_blob
from apps.studies.models import Study

MANIFEST: Final = "MANIFEST.jsonl"
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
    something else lies in the folder or it cannot be written. The folder's user alone may read it.
    """
    kit = _Kit(clinic, folder)
    with clinic_scope(clinic):
        ids = list(Study.objects.order_by("study_date", "pk").values_list("pk", flat=True))
    try:
        for start in range(0, len(ids), BATCH):
            with clinic_scope(clinic):
                rows = Study.objects.filter(pk__in=ids[start : start + BATCH]).select_related("patient", "clinic")
                by_id = {study.pk: study for study in rows}
            for study_id in ids[start : start + BATCH]:
                with clinic_scope(clinic):
                    written = kit.add(by_id[study_id]) if study_id in by_id else None
                if written:
                    yield written
        kit.finish()
    except OSError as error:
        raise KitFolderError(error.strerror or "") from error


def verify_kit(folder: Path) -> int:
    """Read every file of a kit again and compare it with the manifest; return how many there are.

    Needs neither database nor keys. Raises KitDamagedError naming the first file that is missing or differs.
    """
    count = 0
    for line in _lines(folder):
        path = folder / line["path"]
        if not path.is_file() or _sha256_of(path) != line["sha256"]:
            raise KitDamagedError(line["path"])
        count += 1
    if not count:
        raise KitDamagedError(MANIFEST)
    return count


class _Kit:
    def __init__(self, clinic: Clinic, folder: Path) -> None:
        self.clinic, self.folder = clinic, folder
        self.entries: list[dict[str, Any]] = []
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()) and not (folder / MANIFEST).exists():
                raise KitFolderError
            # What was written before, by path: a line is added once its file is durable.
            self.known = {line["path"]: line["sha256"] for line in _lines(folder)}
            self.manifest = (folder / MANIFEST).open("a")
        except OSError as error:
            raise KitFolderError(error.strerror or "") from error

    def add(self, study: Study) -> Written:
        year = f"{study.study_date.year}" if study.study_date else "undated"
        place = f"{year}/{study.study_date or 'undated'}-{study.public_id[:8]}"
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
        self._write("INDEX.HTM", File("INDEX.HTM", timezone.now(), page))
        self.manifest.close()

    def _is_there(self, path: str, file: File) -> bool:
        there = self.folder / path
        return there.is_file() and there.stat().st_size == file.size_bytes

    def _write(self, path: str, file: File) -> None:
        target = self.folder / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.part")
        digest = hashlib.sha256()
        chunks = iterate_blob(file.content) if isinstance(file.content, Blob) else iter([file.content])
        try:
            with aside.open("wb") as out:
                os.fchmod(out.fileno(), 0o600)
                for chunk in chunks:
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            aside.rename(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._note(path, file, digest.hexdigest())

    def _note(self, path: str, file: File, sha256: str) -> None:
        line = {
            "path": path,
            "sha256": sha256,
            "size_bytes": file.size_bytes,
            "stored_at": file.modified_at.isoformat(),
        }
        self.manifest.write(json.dumps(line) + "\n")
        self.manifest.flush()
        self.known[path] = sha256


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the manifest's last word on each file; a line that a crash cut short counts as not written."""
    latest: dict[str, dict[str, Any]] = {}
    path = folder / MANIFEST
    if path.exists():
        for text in path.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            latest[line["path"]] = line
    yield from latest.values()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
