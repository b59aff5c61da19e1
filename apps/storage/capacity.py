"""How full each place is, how fast it fills, and when it will be full; the same for what each clinic's plan allows.

One sample a day; the forecast is the straight line through the samples of the last weeks (least squares), since a
practice fills its disk evenly. A bucket says nothing of its room: there only the growth is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from django.conf import settings
from django.db.models import QuerySet, Sum
from django.utils import timezone

from apps.billing.roles import Limit
from apps.billing.services import usage
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.storage.copies import all_places
from apps.storage.errors import StorageError
from apps.storage.models import Blob, CapacitySample, Copy, Usage
from apps.storage.places import PRIMARY, place_named

WINDOW: Final = timedelta(days=30)
FEWEST_SAMPLES: Final = 3
WARN_DAYS: Final = (30, 7)
"""So many days ahead people are told, and told once more."""
FARTHEST_DAYS: Final = 3650


@dataclass(frozen=True)
class Forecast:
    """How full something is, and until when it lasts. None: not known, or never at this rate."""

    name: str
    used_bytes: int
    room_bytes: int | None
    bytes_a_day: int | None
    full_date: date | None

    def days_left(self, today: date) -> int | None:
        """Return how many days are left, None when it is not known."""
        return None if self.full_date is None else max(0, (self.full_date - today).days)

    def warn_days(self, today: date) -> int | None:
        """Return the nearest of the days ahead at which people are told, None while there is time."""
        left = self.days_left(today)
        return None if left is None else min((days for days in WARN_DAYS if left <= days), default=None)


def sample(today: date | None = None) -> None:
    """Note how full everything is today; once more on the same day corrects it."""
    day = today or timezone.now().date()
    with every_clinic():
        for alias in all_places():
            CapacitySample.objects.update_or_create(
                day=day, place=alias, clinic=None, defaults={"used_bytes": _held_bytes(alias)}
            )
        for row in Usage.objects.all():
            CapacitySample.objects.update_or_create(
                day=day, place="", clinic_id=row.clinic_id, defaults={"used_bytes": row.stored_bytes}
            )
        CapacitySample.objects.filter(day__lt=day - 2 * WINDOW).delete()


def places_forecast(today: date | None = None) -> list[Forecast]:
    """Return how long each place lasts. What is kept free for everything but uploads is not room."""
    day = today or timezone.now().date()
    found = []
    with every_clinic():
        for alias in all_places():
            try:
                free_bytes = place_named(alias).free_bytes()
            except StorageError:
                free_bytes = None
            room = None if free_bytes is None else max(0, free_bytes - settings.MIN_FREE_BYTES)
            found.append(_forecast(alias, CapacitySample.objects.filter(place=alias, clinic=None), room, day))
    return found


def clinics_forecast(today: date | None = None) -> Iterator[tuple[Clinic, Forecast]]:
    """Yield how long each clinic's plan lasts; clinics without a limit are left out."""
    day = today or timezone.now().date()
    with every_clinic():
        for row in Usage.objects.select_related("clinic").order_by("clinic"):
            allowed = usage(row.clinic, Limit.STORAGE_BYTES, row.stored_bytes).allowed
            if allowed is not None:
                samples = CapacitySample.objects.filter(clinic=row.clinic_id)
                room = max(0, allowed - row.stored_bytes)
                yield row.clinic, _forecast(row.clinic.slug, samples, room, day)


def slope(points: Sequence[tuple[int, int]]) -> float | None:
    """Return by how much the second number grows with the first, by least squares; None for too few points."""
    if len({at for at, _ in points}) < FEWEST_SAMPLES:
        return None
    middle = sum(at for at, _ in points) / len(points)
    level = sum(value for _, value in points) / len(points)
    spread = sum((at - middle) ** 2 for at, _ in points)
    return sum((at - middle) * (value - level) for at, value in points) / spread


def local_free_bytes() -> int:
    """Return the room left on the disk of the database and the records."""
    room = os.statvfs(settings.DATA_DIR)
    return room.f_bavail * room.f_frsize


def _forecast(name: str, samples: QuerySet[CapacitySample], room: int | None, today: date) -> Forecast:
    rows = list(samples.filter(day__gt=today - WINDOW, day__lte=today).order_by("day").values_list("day", "used_bytes"))
    growth = slope([(day.toordinal(), used) for day, used in rows])
    full_date = None
    if room is not None and room <= 0:
        full_date = today
    elif room is not None and growth is not None and growth > 0 and room / growth < FARTHEST_DAYS:
        full_date = today + timedelta(days=int(room / growth))
    return Forecast(name, rows[-1][1] if rows else 0, room, None if growth is None else int(growth), full_date)


def _held_bytes(alias: str) -> int:
    good = Copy.objects.filter(place=alias, state=Copy.State.GOOD)
    held = good.aggregate(total=Sum("blob__ciphertext_bytes"))["total"] or 0
    if alias == PRIMARY:
        fresh = Blob.objects.filter(wrapped_key__isnull=False, copies__isnull=True, place=alias)
        held += fresh.aggregate(total=Sum("ciphertext_bytes"))["total"] or 0
    return int(held)
