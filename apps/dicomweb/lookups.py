"""Find what a URL names. Only inside the open clinic scope; whether the principal may see it is asked by `access`."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import Http404

from apps.clinics.services import Asked, PreparedQuery
from apps.dicomweb.errors import BadRequestError
from apps.storage.models import Blob
from apps.studies.models import Instance, Series, Study

MAX_FRAMES_A_REQUEST = 10_000

# What names a row in URLs and in the trail; the rest of it is read when somebody asks.
_NAMES = ("clinic", "public_id", "source_reference")
_NAMES_OF_STUDY = (*_NAMES, "study_instance_uid", *(f"patient__{name}" for name in _NAMES))
_NAMES_OF_SERIES = ("clinic", "public_id", "series_instance_uid")
_ONE_STUDY: PreparedQuery[Study] = PreparedQuery(
    lambda: Study.objects.select_related("patient").filter(study_instance_uid=Asked("study_instance_uid"))
)
_ONE_SERIES: PreparedQuery[Series] = PreparedQuery(
    lambda: Series.objects.select_related("study__patient", "metadata_blob", "thumbnail_blob").filter(
        series_instance_uid=Asked("series_instance_uid"),
        study__study_instance_uid=Asked("study_instance_uid"),
    )
)
_ONE_INSTANCE: PreparedQuery[Instance] = PreparedQuery(
    lambda: (
        Instance.objects.select_related("series__study__patient", "blob")
        .filter(
            sop_instance_uid=Asked("sop_instance_uid"),
            series__series_instance_uid=Asked("series_instance_uid"),
            series__study__study_instance_uid=Asked("study_instance_uid"),
            blob__state=Blob.State.STORED,
        )
        .only(
            "clinic",
            "sop_instance_uid",
            "sop_class_uid",
            "transfer_syntax_uid",
            "number_of_frames",
            "pixel_index",
            *(f"blob__{field.name}" for field in Blob._meta.concrete_fields if not field.name.endswith("_at")),  # noqa: SLF001
            *(f"series__{name}" for name in _NAMES_OF_SERIES),
            *(f"series__study__{name}" for name in _NAMES_OF_STUDY),
        )
    )
)


def find_study(study_instance_uid: str) -> Study:
    """Return the study with its patient; raises Http404."""
    study = _ONE_STUDY.first(study_instance_uid=study_instance_uid)
    if study is None:
        raise Http404
    return study


def find_series(study_instance_uid: str, series_instance_uid: str) -> Series:
    """Return the series with its study and patient; raises Http404."""
    series = _ONE_SERIES.first(study_instance_uid=study_instance_uid, series_instance_uid=series_instance_uid)
    if series is None:
        raise Http404
    return series


def find_instance(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Instance:
    """Return the instance with its blob, series, study and patient in one query; raises Http404."""
    instance = _ONE_INSTANCE.first(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=sop_instance_uid,
    )
    if instance is None:
        raise Http404
    return instance


def instances_of_study(study: Study) -> QuerySet[Instance]:
    """Return the instances of a study with their blobs, series by series."""
    return _stored().filter(series__study=study).order_by("series__series_number", "series_id", "instance_number", "id")


def instances_of_series(series: Series) -> QuerySet[Instance]:
    """Return the instances of a series with their blobs, in order."""
    return _stored().filter(series=series).order_by("instance_number", "id")


def series_of_study(study: Study) -> QuerySet[Series]:
    """Return the series of a study, in order."""
    rows = Series.objects.select_related("metadata_blob", "thumbnail_blob").filter(study=study)
    return rows.order_by("series_number", "id")


def _stored() -> QuerySet[Instance]:
    return Instance.objects.filter(blob__state=Blob.State.STORED).select_related("blob", "series").defer("pixel_index")


def frame_numbers(text: str) -> list[int]:
    """Read a frame list: numbers from 1, separated by commas (PS3.18 10.1.2); raises BadRequestError."""
    parts = text.split(",")
    is_list = all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts)
    if len(parts) > MAX_FRAMES_A_REQUEST or not is_list:
        raise BadRequestError("Frames are numbers from 1, separated by commas.")
    numbers = [int(part) for part in parts]
    if min(numbers) < 1:
        raise BadRequestError("Frames are numbers from 1, separated by commas.")
    return numbers
