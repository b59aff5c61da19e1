"""What a person takes along: DICOM files under File IDs, their DICOMDIR, documents, and a page to look at it all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db.models import F, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from apps.dicom.dicomdir import Entry, make_dicomdir
from apps.exports.layout import File
from apps.storage.models import Blob
from apps.studies.models import Document, Instance, Series, Study
from apps.studies.services import NoThumbnailError, series_metadata, thumbnail

_EXTENSIONS = {"application/pdf": "PDF", "image/jpeg": "JPG", "image/png": "PNG"}
# No program writes a date before this one into an archive or onto a disc.
_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)


@dataclass
class SeriesFolder:
    """One series on the medium."""

    series: Series
    path: str
    instances: Sequence[tuple[Instance, tuple[str, ...]]]
    picture: str = ""


@dataclass
class StudyFolder:
    """One study on the medium."""

    study: Study
    series: list[SeriesFolder] = field(default_factory=list)
    documents: list[tuple[Document, str]] = field(default_factory=list)


def files_of(studies: Iterable[Study], series: Sequence[Series] | None = None, *, has_pages: bool = True) -> list[File]:
    """Return the files of a medium with these studies, or of these series of them alone; the same ones every time.

    Studies come with patient and clinic. Needs the clinic's scope; reads metadata and pictures that are prepared, and
    no image. Raises what reading a blob raises; without the directory, the page and its pictures it reads nothing.
    """
    chosen = sorted(studies, key=lambda study: study.pk)
    folders = list(_folders(chosen, series))
    if not any(folder.series or folder.documents for folder in folders):
        return []
    files: list[File] = []
    for folder in folders:
        for one in folder.series:
            files += [File("/".join(file_id), row.created_at, row.blob) for row, file_id in one.instances]
        files += [File(path, document.created_at, document.blob) for document, path in folder.documents]
    made_at = max(file.modified_at for file in files)
    pages = _pages(folders, made_at) if has_pages else []
    # What a person and a program look for first stands first.
    return [*pages, *files]


def instances_of(studies: Iterable[Study]) -> QuerySet[Instance]:
    """Return the instances of these studies with series, study, clinic and blob, those that can be read."""
    rows = Instance.objects.filter(series__study__in=list(studies), blob__state=Blob.State.STORED)
    return (
        rows.defer("pixel_index")
        .select_related("series__study__patient", "series__study__clinic", "blob")
        .order_by(
            "series__study_id", F("series__series_number").asc(nulls_last=True), "series_id", "instance_number", "pk"
        )
    )


def made_at(files: Sequence[File]) -> datetime:
    """Return the date of a medium: that of its newest file."""
    return max((file.modified_at for file in files), default=_EARLIEST)


def _folders(studies: Sequence[Study], series: Sequence[Series] | None) -> Iterator[StudyFolder]:
    rows = instances_of(studies)
    if series is not None:
        rows = rows.filter(series__in=series)
    by_study: dict[int, dict[int, list[Instance]]] = {}
    for row in rows:
        by_study.setdefault(row.series.study_id, {}).setdefault(row.series_id, []).append(row)
    number = 0
    for place, study in enumerate(studies, 1):
        folder = StudyFolder(study)
        for rank, instances in enumerate(by_study.get(study.pk, {}).values(), 1):
            path = ("DICOM", f"ST{place:06d}", f"SE{rank:06d}")
            named = [(row, (*path, f"IM{index:06d}")) for index, row in enumerate(instances, 1)]
            folder.series.append(SeriesFolder(instances[0].series, "/".join(path), named))
        if series is None:
            papers = study.documents.select_related("study", "blob", "clinic").filter(blob__state=Blob.State.STORED)
            for document in papers.order_by("created_at", "pk"):
                number += 1
                extension = _EXTENSIONS.get(document.media_type, "BIN")
                folder.documents.append((document, f"DOCUMENT/DO{number:06d}.{extension}"))
        yield folder


def _pages(folders: Sequence[StudyFolder], at: datetime) -> list[File]:
    """Return the directory, the page to look at offline with its pictures, and a note for whoever finds the disc."""
    pictures: list[File] = []
    for folder in folders:
        for one in folder.series:
            try:
                picture = thumbnail(one.series)
            except NoThumbnailError:
                continue
            one.picture = f"PICTURE/PI{len(pictures) + 1:06d}.JPG"
            pictures.append(File(one.picture, at, picture))
    context = {"folders": folders, "clinic": folders[0].study.clinic, "at": timezone.localtime(at)}
    page = render_to_string("exports/index.html", context).encode()
    note = render_to_string("exports/readme.txt", context).replace("\n", "\r\n").encode()
    pages = [File("INDEX.HTM", at, page), File("README.TXT", at, note), *pictures]
    if any(folder.series for folder in folders):
        pages.insert(0, File("DICOMDIR", at, make_dicomdir(_entries(folders))))
    return pages


def _entries(folders: Sequence[StudyFolder]) -> Iterator[Entry]:
    for folder in folders:
        for one in folder.series:
            one.series.study = folder.study
            known = {
                (model.get("00080018", {}).get("Value") or [""])[0]: model
                for model in json.loads(gzip.decompress(series_metadata(one.series)))
            }
            for row, file_id in one.instances:
                yield Entry(
                    file_id,
                    row.sop_class_uid,
                    row.sop_instance_uid,
                    row.transfer_syntax_uid,
                    known.get(row.sop_instance_uid, {}),
                )
