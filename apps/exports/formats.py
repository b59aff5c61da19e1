"""What each format is called, to programs and to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from apps.exports.models import Format
from apps.studies.models import Study

MEDIA_TYPES: Final = {Format.ZIP: "application/zip", Format.ISO: "application/vnd.efi.iso"}


def file_name(studies: Sequence[Study], kind: Format) -> str:
    """Return what to call the file: the clinic and the date, no person."""
    dates = sorted({study.study_date for study in studies if study.study_date})
    slug = studies[0].clinic.slug if studies else "viewbox"
    when = f"-{dates[0]:%Y%m%d}" if dates else ""
    return f"{slug}-{'studies' if len(studies) > 1 else 'study'}{when}.{kind.value}"
