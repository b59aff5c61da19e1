"""What the quick viewer's page is made of: a study's series, the earlier studies beside it, what is shown first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import F, Q

from apps.access.services import Principal
from apps.dicom.sop_classes import Kind
from apps.studies.models import Instance, Series, Study
from apps.studies.services import visible

MAX_PRIORS: Final = 20
_WITHOUT_PIXELS: Final = {Kind.DOCUMENT: "document", Kind.REPORT: "report"}


@dataclass(frozen=True)
class ShownSeries:
    """A series as the page lists it; `kind`: image, document, report, or other for what has no picture of its own."""

    row: Series
    kind: str

    @property
    def title(self) -> str:
        """What to call it."""
        return self.row.series_description or self.row.readable_class

    @property
    def count(self) -> int:
        """How many pictures, or objects, it holds."""
        return max(self.row.number_of_frames, self.row.number_of_series_related_instances)


@dataclass(frozen=True)
class ShownStudy:
    """A study with its series, in the order of their numbers."""

    row: Study
    series: list[ShownSeries]
    is_prior: bool = False


@dataclass(frozen=True)
class First:
    """The frame that is shown first: the middle one of the first series with pictures."""

    series: Series
    sop_instance_uid: str
    frame: int


@dataclass(frozen=True)
class Shown:
    """Everything on the page."""

    studies: list[ShownStudy]
    first: First | None = field(default=None)


def shown(principal: Principal, study: Study) -> Shown:
    """Return the study, the earlier studies of its patient that this viewer may see, and what is shown first."""
    studies = [study, *priors(principal, study)]
    rows: dict[int, list[ShownSeries]] = {one.pk: [] for one in studies}
    found = Series.objects.filter(study__in=rows, number_of_series_related_instances__gt=0)
    for row in found.order_by(F("series_number").asc(nulls_last=True), "pk"):
        rows[row.study_id].append(ShownSeries(row, _kind_of(row)))
    listed = [ShownStudy(one, rows[one.pk], is_prior=one is not study) for one in studies]
    pictures = [one.row for one in listed[0].series if one.kind == "image"]
    return Shown(listed, _first_frame(pictures[0]) if pictures else None)


def priors(principal: Principal, study: Study) -> list[Study]:
    """Return the patient's other studies that the principal may see, the newest first."""
    rows = Study.objects.filter(visible(principal) & Q(patient=study.patient_id)).exclude(pk=study.pk)
    return list(rows.order_by("-listed_at", "-pk")[:MAX_PRIORS])


def nearest_prior(principal: Principal, study: Study) -> Study | None:
    """Return the study to compare this one with: the newest before it, of the same modality where there is one."""
    rows = priors(principal, study)
    earlier = [one for one in rows if one.listed_at <= study.listed_at] or rows
    alike = [one for one in earlier if set(one.modalities) & set(study.modalities)]
    return next(iter(alike or earlier), None)


def _kind_of(series: Series) -> str:
    if series.has_pixels and series.kind not in (Kind.SEGMENTATION, Kind.REPORT):
        return "image"
    return _WITHOUT_PIXELS.get(series.kind, "other")


def _first_frame(series: Series) -> First | None:
    """Return the middle frame, as the viewer counts them: all frames of all instances in the order of their numbers."""
    rows = Instance.objects.filter(series=series, number_of_frames__gt=0).order_by("instance_number", "pk")
    if series.number_of_frames == series.number_of_series_related_instances:
        at = series.number_of_frames // 2
        middle = rows.values_list("sop_instance_uid", flat=True)[at : at + 1]
        return First(series, middle[0], 1) if middle else None
    before = series.number_of_frames // 2
    for sop_instance_uid, frames in rows.values_list("sop_instance_uid", "number_of_frames"):
        if before < frames:
            return First(series, sop_instance_uid, before + 1)
        before -= frames
    return None


def as_json(
    page: Shown, *, root: str, address: str, report_urls: dict[int, str], locale: str, words: dict[str, str]
) -> dict[str, Any]:
    """Return what `static/viewer/words.js` reads. All URLs are paths on our own host (WEB-09)."""
    studies = [
        {
            "uid": study.row.study_instance_uid,
            "series": [
                {
                    "reference": series.row.public_id,
                    "uid": series.row.series_instance_uid,
                    "title": series.title,
                    "modality": series.row.modality,
                    "kind": series.kind,
                    "frames": series.count,
                    "report_url": report_urls.get(series.row.pk, ""),
                }
                for series in study.series
            ],
        }
        for study in page.studies
    ]
    first = page.first and {
        "study": 0,
        "series": page.first.series.series_instance_uid,
        "instance": page.first.sop_instance_uid,
        "frame": page.first.frame,
    }
    return {"root": root, "page": address, "locale": locale, "studies": studies, "first": first, "words": words}
