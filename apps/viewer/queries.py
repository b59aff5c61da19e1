"""What of a study the viewer can show, and what it shows first."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from apps.dicom import limited, sop_classes
from apps.dicom.report import ReportItem
from apps.dicom.sop_classes import Kind
from apps.storage.services import open_blob
from apps.studies.models import Instance, Series, Study

# What the viewer shows on its own; all else it lays over images, or cannot show.
_SHOWN = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.WAVEFORM})
MAX_REPORTS = 20


@dataclass(frozen=True)
class SeriesContent:
    """A series and what its instances are."""

    series_instance_uid: str
    sop_class_uid: str
    has_frames: bool

    @property
    def is_shown(self) -> bool:
        """Whether the viewer shows it by itself."""
        kind = sop_classes.kind(self.sop_class_uid)
        if kind is Kind.DOCUMENT:
            return sop_classes.is_encapsulated_pdf(self.sop_class_uid)
        return kind in _SHOWN or (kind is Kind.OTHER and self.has_frames)

    @property
    def is_picture(self) -> bool:
        """Whether it holds frames of its own to look at."""
        return self.has_frames and sop_classes.kind(self.sop_class_uid) in (Kind.IMAGE, Kind.VIDEO, Kind.OTHER)


@dataclass(frozen=True)
class Paper:
    """An object without images, in words."""

    title: str
    items: list[ReportItem]


def contents(study: Study) -> list[SeriesContent]:
    """Return what the study's series hold, in the order in which people number them; one entry for each SOP class."""
    rows = (
        Instance.objects.filter(series__study=study)
        .order_by("series__series_number", "series_id")
        .values_list("series__series_instance_uid", "sop_class_uid", "number_of_frames")
        .distinct()
    )
    found: dict[tuple[str, str], bool] = {}
    for series_instance_uid, sop_class_uid, number_of_frames in rows:
        key = (series_instance_uid, sop_class_uid)
        found[key] = found.get(key, False) or bool(number_of_frames)
    return [SeriesContent(series, sop_class, frames) for (series, sop_class), frames in found.items()]


def first_series(found: list[SeriesContent]) -> str:
    """Return the SeriesInstanceUID to show first: the first with pictures; "" where that is the viewer's own choice."""
    pictures = [content.series_instance_uid for content in found if content.is_picture]
    return pictures[0] if pictures and len({content.series_instance_uid for content in found}) > 1 else ""


def papers(study: Study) -> list[Paper]:
    """Return the objects of a study in words; reports with what they say, at most MAX_REPORTS. Reads their blobs."""
    rows = Instance.objects.filter(series__study=study).order_by("series__series_number", "series_id")
    return _papers(rows)


def reports(series: Series) -> list[Paper]:
    """Return the objects of a series in words, as `papers` does those of a study."""
    return _papers(Instance.objects.filter(series=series).order_by())


def _papers(rows: QuerySet[Instance]) -> list[Paper]:
    found = []
    ordered = rows.select_related("blob").order_by(*rows.query.order_by, "instance_number", "pk")
    for instance in ordered[:MAX_REPORTS]:
        items: list[ReportItem] = []
        if sop_classes.is_report(instance.sop_class_uid):
            with open_blob(instance.blob) as file:
                items = limited.report_items(file)
        found.append(Paper(sop_classes.name(instance.sop_class_uid), items))
    return found
