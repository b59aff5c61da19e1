"""What is on the screen, as a picture or a film: JPEG, PNG, MP4, with the window that was set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet
from django.http import Http404, QueryDict

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.dicom.grayscale import Window
from apps.exports import film
from apps.exports.errors import NoFilmError
from apps.exports.watermark import mark
from apps.storage.models import Blob
from apps.storage.services import open_blob
from apps.studies.models import Instance, Series

PICTURE_TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png"}
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,7}(\.[0-9]{1,6})?")


@dataclass(frozen=True)
class Wish:
    """How it is shown: window (None leaves it to the file), frame, pictures a second."""

    window: Window | None
    frame: int
    rate: float


def wish_of(query: QueryDict) -> Wish:
    """Read `window=centre,width`, `frame` and `rate`; raises Http404 for what is none of these."""
    window = None
    given = query.get("window") or ""
    if given:
        parts = [part.strip() for part in str(given).split(",")]
        if len(parts) != 2 or not all(_NUMBER.fullmatch(part) for part in parts) or float(parts[1]) <= 0:
            raise Http404
        window = Window(float(parts[0]), float(parts[1]))
    frame, rate = query.get("frame", "1"), query.get("rate", str(film.DEFAULT_RATE))
    if not re.fullmatch(r"[0-9]{1,6}", frame) or not _NUMBER.fullmatch(rate):
        raise Http404
    if int(frame) < 1 or not 1 <= float(rate) <= film.MAX_RATE:
        raise Http404
    return Wish(window, int(frame), float(rate))


def instance_of(series: Series, sop_instance_uid: str) -> Instance:
    """Return the instance to draw: the one named, or the middle one; raises Http404."""
    rows = _drawable(series)
    if sop_instance_uid:
        found = rows.filter(sop_instance_uid=sop_instance_uid).first()
    else:
        found = rows[rows.count() // 2 : rows.count() // 2 + 1].first() if rows.exists() else None
    if found is None:
        raise Http404
    return found


def picture(instance: Instance, wish: Wish, media_type: str, watermark: str) -> bytes:
    """Return a frame as a picture; raises Http404 for a frame that there is not or that cannot be drawn."""
    if wish.frame > instance.number_of_frames:
        raise Http404
    try:
        with open_blob(instance.blob) as file:
            drawn = limited.rendered(file, wish.frame, window=wish.window, media_type=media_type)
    except DicomError as error:
        raise Http404 from error
    return mark(drawn, watermark, media_type)


def film_of(clinic: Clinic, series: Series, wish: Wish, watermark: str, sop_instance_uid: str = "") -> Iterator[bytes]:
    """Return the film of a series, or of one instance of it: all frames in order.

    Raises NoFilmError where there is no encoder, nothing that moves, too much of it, or nothing that can be drawn.
    """
    rows = list(_drawable(series))
    if sop_instance_uid:
        rows = [row for row in rows if row.sop_instance_uid == sop_instance_uid]
    frames = [(row, number) for row in rows for number in range(1, row.number_of_frames + 1)]
    if film.encoder() is None or not 1 < len(frames) <= film.MAX_FRAMES:
        raise NoFilmError
    first = rows[0]
    size = _fitted(first.columns or film.MAX_SIDE, first.rows or film.MAX_SIDE)

    def pictures() -> Iterator[bytes]:
        for row, number in frames:
            with clinic_scope(clinic):
                file = open_blob(row.blob)
            with file:
                drawn = limited.rendered(file, number, window=wish.window, size=size, quality=95)
            yield mark(drawn, watermark)

    try:
        # Drawn once before anything is sent: what cannot be drawn is an answer, not half a film.
        next(pictures())
    except DicomError as error:
        raise NoFilmError from error
    return film.make_film(pictures, rate=wish.rate, size=size)


def _fitted(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, film.MAX_SIDE / max(width, height))
    return max(2, int(width * scale)), max(2, int(height * scale))


def _drawable(series: Series) -> QuerySet[Instance]:
    rows = Instance.objects.filter(series=series, number_of_frames__gt=0, blob__state=Blob.State.STORED)
    return rows.select_related("blob").order_by("instance_number", "pk")
