"""Reports and documents that came inside DICOM, in words: what a browser may show of them is text and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from apps.dicom import limited, sop_classes
from apps.dicom.errors import DicomError
from apps.dicom.report import ReportItem
from apps.dicom.sop_classes import Kind
from apps.storage.services import open_blob
from apps.studies.models import Instance, Series

PAPER_KINDS: Final = frozenset({Kind.REPORT, Kind.DOCUMENT})
MAX_PAPERS: Final = 50
_ENCAPSULATED_DOCUMENT: Final = "00420011"
_PDF: Final = "application/pdf"
_CDA: Final = "text/XML"


@dataclass(frozen=True)
class Paper:
    """One object without images: what it says, and whether it can be taken as a file."""

    sop_instance_uid: str
    title: str
    items: list[ReportItem]
    is_file: bool


def papers_of(series: Series) -> list[Paper]:
    """Return the reports and documents of a series, at most MAX_PAPERS, in their order. Reads their blobs."""
    rows = series.instances.select_related("blob").order_by("instance_number", "pk")[:MAX_PAPERS]
    return [
        Paper(
            row.sop_instance_uid,
            sop_classes.name(row.sop_class_uid),
            _items(row),
            sop_classes.document_media_type(row.sop_class_uid) is not None,
        )
        for row in rows
        if sop_classes.kind(row.sop_class_uid) in PAPER_KINDS
    ]


def _items(instance: Instance) -> list[ReportItem]:
    """Return what an object says; nothing of a PDF, and of what cannot be read."""
    is_cda = sop_classes.document_media_type(instance.sop_class_uid) == _CDA
    if not is_cda and not sop_classes.is_report(instance.sop_class_uid):
        return []
    try:
        with open_blob(instance.blob) as file:
            return limited.document_items(file) if is_cda else limited.report_items(file)
    except DicomError:
        return []


def document_of(instance: Instance) -> tuple[str, str, bytes]:
    """Return media type, file ending and content of an encapsulated document; only what is a PDF is called one.

    Raises DicomError where there is none.
    """
    with open_blob(instance.blob) as file:
        _, content = limited.bulk_data(file, _ENCAPSULATED_DOCUMENT)
    media_type = sop_classes.document_media_type(instance.sop_class_uid)
    if media_type == _PDF and content.startswith(b"%PDF-"):
        return _PDF, "pdf", content
    return "application/octet-stream", "xml" if media_type == _CDA else "bin", content
