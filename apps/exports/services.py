"""Studies to take away: plain DICOM Part 10 files in folders, in one ZIP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db.models import QuerySet

from apps.exports.archive import Member, safe_name, stream
from apps.studies.models import Document, Instance, Study

__all__ = ["instances_of", "study_zip", "zip_name"]

# Transfer syntaxes of uncompressed pixels (PS3.5 A.1 to A.3).
_PLAIN = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_EXTENSIONS = {"application/pdf": "pdf", "image/jpeg": "jpg", "image/png": "png"}


def instances_of(studies: Iterable[Study]) -> QuerySet[Instance]:
    """Return the instances of these studies as `study_zip` wants them: with series, study, clinic and blob."""
    rows = Instance.objects.filter(series__study__in=list(studies)).defer("pixel_index")
    return rows.select_related("series__study__clinic", "blob").order_by(
        "series__study_id", "series__series_number", "series_id", "instance_number", "pk"
    )


def study_zip(instances: Iterable[Instance], documents: Iterable[Document] = ()) -> Iterator[bytes]:
    """Return the bytes of a ZIP with these instances, a folder for each study and in it one for each series.

    All rows are fetched and the first blob is opened before this returns: call it with the clinic's scope open, after
    the audit record is written; iterate it whenever. Memory stays flat. Documents come with `study` and `blob`.
    Raises what `storage.services.open_blob` raises for the first blob; damage further on ends the stream without the
    archive's directory, so that no program takes it for whole.
    """
    rows = list(instances)
    papers = list(documents)
    clinic = rows[0].clinic if rows else papers[0].clinic if papers else None
    if clinic is None:
        return iter(())
    studies = {row.series.study_id: row.series.study for row in rows} | {
        paper.study_id: paper.study for paper in papers
    }
    folders = {pk: _study_folder(number, study) for number, (pk, study) in enumerate(studies.items(), 1)}
    series_folders: dict[int, str] = {}
    counts: dict[int, int] = {}
    members = []
    for row in rows:
        if row.series_id not in series_folders:
            series_folders[row.series_id] = _series_folder(len(series_folders) + 1, row)
        counts[row.series_id] = counts.get(row.series_id, 0) + 1
        path = f"{folders[row.series.study_id]}/{series_folders[row.series_id]}/{counts[row.series_id]:05d}.dcm"
        members.append(Member(path, row.created_at, row.blob, row.transfer_syntax_uid not in _PLAIN))
    for number, paper in enumerate(papers, 1):
        name = f"{number:02d}-{safe_name(paper.title)}.{_EXTENSIONS.get(paper.media_type, 'bin')}"
        members.append(
            Member(f"{folders[paper.study_id]}/documents/{name}", paper.created_at, paper.blob, is_compressed=True)
        )
    return stream(clinic, members)


def zip_name(studies: Iterable[Study]) -> str:
    """Return what to call the file: the clinic and the date, no person."""
    rows = list(studies)
    dates = sorted({study.study_date for study in rows if study.study_date})
    slug = rows[0].clinic.slug if rows else "viewbox"
    when = f"-{dates[0]:%Y%m%d}" if dates else ""
    return f"{slug}-{'studies' if len(rows) > 1 else 'study'}{when}.zip"


def _study_folder(number: int, study: Study) -> str:
    date = f"{study.study_date:%Y%m%d}" if study.study_date else None
    return f"{number:02d}-{safe_name(date, study.modalities_in_study, study.study_description)}"


def _series_folder(number: int, row: Instance) -> str:
    series = row.series
    return f"{number:03d}-{safe_name(series.series_number, series.modality, series.series_description)}"
