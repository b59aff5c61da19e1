"""What is made once for a series, so that opening it reads one blob: its metadata, and a picture to know it by.

Both are made by a job soon after arrival, or at once for whoever asks earlier, and again when a late instance joins.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable

from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.storage.errors import BlobDestroyedError, BlobMissingError, CorruptBlobError
from apps.storage.models import Blob
from apps.storage.services import adopt, destroy, iterate_blob, open_blob, write_blob
from apps.studies.errors import NoThumbnailError
from apps.studies.models import Instance, Series

log = logging.getLogger(__name__)

THUMBNAIL_PIXELS = 256
_UNREADABLE = (BlobDestroyedError, BlobMissingError, CorruptBlobError)


def make_metadata(series: Series) -> tuple[bytes, int]:
    """Return the series' metadata and how many instances it covers.

    The metadata is the gzip'd JSON array of PS3.18 10.4.1.1.2, the instances in the order of their numbers. URIs of
    bulk data are relative to the root of the DICOMweb service:
    `studies/<uid>/series/<uid>/instances/<uid>/bulkdata/<path>`.
    """
    rows = list(series.instances.select_related("blob").order_by("instance_number", "pk"))
    root = f"studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}/instances"
    parts = [metadata_of(row, f"{root}/{row.sop_instance_uid}/bulkdata") for row in rows]
    return gzip.compress(b"[" + b",".join(parts) + b"]", compresslevel=6, mtime=0), len(rows)


def metadata_of(instance: Instance, bulk_data_root: str) -> bytes:
    """Return one instance in the DICOM JSON Model, read from its blob.

    What is damaged somewhere inside, though its header could be read, says only which instance it is: its neighbours
    in the series are described all the same.
    """
    try:
        with open_blob(instance.blob) as file:
            return limited.metadata(file, bulk_data_root)
    except DicomError as error:
        log.warning("instance described by its identifiers alone", extra={"code": error.code.value})
    return json.dumps(_identifiers(instance), separators=(",", ":")).encode()


def _identifiers(instance: Instance) -> dict[str, object]:
    """Return what the index knows of an instance as DICOM JSON."""
    series = instance.series
    uids = {
        "00080016": instance.sop_class_uid,
        "00080018": instance.sop_instance_uid,
        "0020000D": series.study.study_instance_uid,
        "0020000E": series.series_instance_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


def write_prepared(series: Series, kind: str, content: bytes) -> Blob:
    """Store what was made, in quarantine until it is kept: what a process leaves that dies in between is swept."""
    return write_blob(series.clinic, kind, [content], quarantined=True)


def keep_metadata(series: Series, blob: Blob, covered: int) -> None:
    """Make this blob the series' metadata, in the caller's transaction; the one before is destroyed."""
    _replace(series, "metadata", blob, covered)


def keep_thumbnail(series: Series, blob: Blob | None, covered: int) -> None:
    """Make this blob the series' picture (None: it has none), in the caller's transaction."""
    _replace(series, "thumbnail", blob, covered)


def _replace(series: Series, what: str, blob: Blob | None, covered: int) -> None:
    row = Series.objects.select_for_update(no_key=True).get(pk=series.pk)
    if row.version != series.version:
        # An instance got other bytes while this was made of the ones before.
        destroy([blob] if blob is not None else [])
        return
    before = getattr(row, f"{what}_blob")
    if blob is not None:
        adopt([blob])
    setattr(row, f"{what}_blob", blob)
    setattr(row, f"{what}_instance_count", covered)
    row.save(update_fields=[f"{what}_blob", f"{what}_instance_count"])
    setattr(series, f"{what}_blob", blob)
    setattr(series, f"{what}_instance_count", covered)
    if before is not None:
        destroy([before])


def stored_metadata(series: Series) -> bytes | None:
    """Return the stored metadata if it covers every instance and can be read, else None."""
    if series.metadata_blob is None or series.metadata_instance_count != series.number_of_series_related_instances:
        return None
    return _read(series.metadata_blob)


def stored_thumbnail(series: Series) -> bytes | None:
    """Return the stored picture if it is still that of the middle instance, else None.

    Raises NoThumbnailError where there is nothing to draw, or where drawing all these instances failed before.
    """
    if not series.has_pixels:
        raise NoThumbnailError
    if series.thumbnail_instance_count != series.number_of_series_related_instances:
        return None
    if series.thumbnail_blob is None:
        raise NoThumbnailError
    return _read(series.thumbnail_blob)


def _read(blob: Blob) -> bytes | None:
    """Return what can be made again anyway: a damaged or missing blob is as good as none."""
    try:
        return b"".join(iterate_blob(blob))
    except _UNREADABLE as error:
        log.warning("prepared blob is unreadable", extra={"blob": blob.public_id, "code": error.code})
        return None


def middle_instance(series: Series) -> Instance | None:
    """Return the instance that shows best what the series is of: the middle one of those with pixels."""
    rows = series.instances.filter(number_of_frames__gt=0).order_by("instance_number", "pk")
    count = rows.count()
    return rows.select_related("blob")[count // 2] if count else None


def draw(instance: Instance) -> bytes:
    """Return a JPEG of the instance, 256 pixels along its longer side; raises NoThumbnailError."""
    if not instance.number_of_frames:
        raise NoThumbnailError
    try:
        with open_blob(instance.blob) as file:
            return limited.thumbnail(file, THUMBNAIL_PIXELS)
    except DicomError as error:
        raise NoThumbnailError from error


def prepare(series: Series) -> Callable[[], None]:
    """Make what is missing or stale outside any transaction; return the function that makes it count."""
    steps: list[Callable[[], None]] = []
    if stored_metadata(series) is None:
        content, covered = make_metadata(series)
        metadata = write_prepared(series, "metadata", content)
        steps.append(lambda: keep_metadata(series, metadata, covered))
    if _lacks_thumbnail(series):
        count = series.number_of_series_related_instances
        picture = draw_series(series)
        thumbnail = write_prepared(series, "thumbnail", picture) if picture else None
        steps.append(lambda: keep_thumbnail(series, thumbnail, count))

    def keep() -> None:
        for step in steps:
            step()

    return keep


def _lacks_thumbnail(series: Series) -> bool:
    try:
        return stored_thumbnail(series) is None
    except NoThumbnailError:
        return False


def draw_series(series: Series) -> bytes | None:
    """Return the picture of the series' middle instance, None when no decoder here reads it."""
    middle = middle_instance(series)
    try:
        return draw(middle) if middle is not None else None
    except NoThumbnailError:
        return None
