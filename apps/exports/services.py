"""Studies to take away: as a ZIP or as the image of a disc, with directory and a page to look at, any range of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apps.clinics.models import Clinic
from apps.exports.contents import files_of, instances_of, made_at
from apps.exports.iso_layout import iso_layout
from apps.exports.layout import Layout
from apps.exports.models import Format
from apps.exports.ranges import respond
from apps.exports.receipt_views import receipt_response
from apps.exports.zip_layout import zip_layout
from apps.studies.models import Series, Study

__all__ = ["MEDIA_TYPES", "Format", "Layout", "file_name", "instances_of", "layout_of", "receipt_response", "respond"]

MEDIA_TYPES = {Format.ZIP: "application/zip", Format.ISO: "application/vnd.efi.iso"}
_LABEL = "VIEWBOX"


def layout_of(clinic: Clinic, studies: Iterable[Study], kind: Format, series: Sequence[Series] | None = None) -> Layout:
    """Return the layout of a file with these studies, or of these series of them alone.

    All rows are fetched and all that is prepared is read before this returns: call it with the clinic's scope open,
    after the audit record is written; iterate it whenever. Studies come with patient and clinic.
    """
    files = files_of(studies, series)
    if kind == Format.ISO:
        return iso_layout(files, label=_LABEL, made_at=made_at(files))
    return zip_layout(clinic, files)


def file_name(studies: Sequence[Study], kind: Format) -> str:
    """Return what to call the file: the clinic and the date, no person."""
    dates = sorted({study.study_date for study in studies if study.study_date})
    slug = studies[0].clinic.slug if studies else "viewbox"
    when = f"-{dates[0]:%Y%m%d}" if dates else ""
    return f"{slug}-{'studies' if len(studies) > 1 else 'study'}{when}.{kind.value}"
