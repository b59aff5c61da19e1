"""The door of the index: put instances in, read what was prepared for a series."""

from __future__ import annotations

import logging

from django.db import DatabaseError, transaction

from apps.storage.errors import StorageError
from apps.studies import preparation
from apps.studies.damaged import damaged_studies, mark_damaged
from apps.studies.documents import check_document, picture_alone, title_of
from apps.studies.erasing import Doomed, erase_clinic, erase_patient, erase_studies, goes_along, replay_erasures
from apps.studies.errors import NoThumbnailError
from apps.studies.indexing import index_instances
from apps.studies.matching import InstanceCriteria, SeriesCriteria, StudyCriteria
from apps.studies.models import Instance, Series
from apps.studies.queries import (
    Order,
    StudyPage,
    count,
    search,
    search_instances,
    search_page,
    search_rows,
    search_series,
    visible,
)
from apps.studies.rebuilding import rebuild
from apps.studies.recycling import delete_study, refers_to_studies
from apps.studies.versions import lock_instance, replace_version

__all__ = [
    "Doomed",
    "InstanceCriteria",
    "NoThumbnailError",
    "Order",
    "SeriesCriteria",
    "StudyCriteria",
    "StudyPage",
    "check_document",
    "count",
    "damaged_studies",
    "delete_study",
    "erase_clinic",
    "erase_patient",
    "erase_studies",
    "goes_along",
    "index_instances",
    "lock_instance",
    "mark_damaged",
    "picture_alone",
    "rebuild",
    "refers_to_studies",
    "replace_version",
    "replay_erasures",
    "search",
    "search_instances",
    "search_page",
    "search_rows",
    "search_series",
    "series_metadata",
    "thumbnail",
    "title_of",
    "visible",
]

log = logging.getLogger(__name__)


def series_metadata(series: Series) -> bytes:
    """Return the gzip'd DICOM JSON array of all instances of a series (PS3.18 10.4.1.1.2), in one read of one blob.

    A series that was opened before its job ran, or that grew since, is prepared at once. URIs of bulk data are relative
    to the root of the DICOMweb service: `studies/<uid>/series/<uid>/instances/<uid>/bulkdata/<tag path>`.
    """
    stored = preparation.stored_metadata(series)
    if stored is not None:
        return stored
    content, covered = preparation.make_metadata(series)
    try:
        blob = preparation.write_prepared(series, "metadata", content)
        with transaction.atomic():
            preparation.keep_metadata(series, blob, covered)
    except (StorageError, DatabaseError) as error:
        # A full disk must not keep anybody from reading; the job will try again.
        log.warning("metadata not kept: %s", type(error).__name__)
    return content


def thumbnail(shown: Instance | Series) -> bytes:
    """Return a JPEG of an instance, or of the middle instance of a series; at most 256 pixels a side.

    Raises NoThumbnailError when there is nothing to draw.
    """
    if isinstance(shown, Instance):
        return preparation.draw(shown)
    stored = preparation.stored_thumbnail(shown)
    if stored is not None:
        return stored
    count_now = shown.number_of_series_related_instances
    picture = preparation.draw_series(shown)
    try:
        blob = preparation.write_prepared(shown, "thumbnail", picture) if picture else None
        with transaction.atomic():
            preparation.keep_thumbnail(shown, blob, count_now)
    except (StorageError, DatabaseError) as error:
        log.warning("thumbnail not kept: %s", type(error).__name__)
    if picture is None:
        raise NoThumbnailError
    return picture
