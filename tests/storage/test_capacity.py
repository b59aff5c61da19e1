"""How long the room lasts, who is told, and what is refused when it is gone."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from pytest_django import Settings

from apps.accounts.models import User
from apps.backup.alarms import troubles
from apps.clinics.models import Clinic
from apps.jobs.services import process_until_idle
from apps.storage import capacity, filling
from apps.storage import services as storage
from apps.storage.disk_place import DiskPlace
from apps.storage.errors import PlaceFullError
from apps.storage.models import CapacityNotice, CapacitySample, Usage
from apps.storage.services import check_room, copy_due, write_blobs

TODAY = date(2026, 11, 22)
GIB = 1 << 30


def grow(per_day: int, *, place: str = "", clinic: Clinic | None = None, days: int = 10) -> None:
    for ago in range(days):
        day = TODAY - timedelta(days=ago)
        used_bytes = 100 * GIB - ago * per_day
        CapacitySample.objects.create(day=day, place=place, clinic=clinic, used_bytes=used_bytes)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> dict[str, int]:
    """What the disk says of its room."""
    free = {"bytes": 21 * GIB}
    settings.MIN_FREE_BYTES = GIB
    monkeypatch.setattr(DiskPlace, "free_bytes", lambda self: free["bytes"])
    monkeypatch.setattr(storage, "local_free_bytes", lambda: free["bytes"])
    return free


def test_the_line_through_the_samples_is_the_growth() -> None:
    assert capacity.slope([(1, 10), (2, 20), (3, 30)]) == 10
    assert capacity.slope([(1, 10), (2, 5), (3, 15)]) == 2.5
    assert capacity.slope([(1, 10), (2, 20)]) is None
    assert capacity.slope([(5, 1), (5, 2), (5, 3)]) is None


@pytest.mark.parametrize(
    ("per_day", "left", "warn"), [(GIB // 2, 40, None), (GIB, 20, 30), (4 * GIB, 5, 7), (0, None, None)]
)
def test_a_place_tells_when_it_will_be_full(
    db: None, disk: DiskPlace, room: dict[str, int], per_day: int, left: int | None, warn: int | None
) -> None:
    grow(per_day, place="blobs")
    [forecast] = capacity.places_forecast(TODAY)
    assert forecast.days_left(TODAY) == left
    assert forecast.warn_days(TODAY) == warn
    if per_day:
        assert forecast.full_date == TODAY + timedelta(days=left or 0)


def test_a_place_that_fills_is_an_alarm(
    db: None, disk: DiskPlace, room: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(4 * GIB, place="blobs")
    monkeypatch.setattr("apps.backup.alarms.places_forecast", lambda _: capacity.places_forecast(TODAY))
    from django.utils import timezone

    [trouble] = [each for each in troubles(timezone.now()) if each.code.startswith("place-fills")]
    assert (trouble.code, trouble.item) == ("place-fills-7", "blobs")


def test_owners_are_told_thirty_and_seven_days_ahead_once_each(
    in_clinic_a: Clinic, alice: User, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[object]
) -> None:
    Usage.objects.create(clinic=in_clinic_a, stored_bytes=100 * GIB)
    allowed = {"bytes": 120 * GIB}

    class Allowed:
        @property
        def allowed(self) -> int:
            return allowed["bytes"]

    monkeypatch.setattr(capacity, "usage", lambda *_: Allowed())
    grow(GIB, clinic=in_clinic_a)
    assert [filling.tell_owners(TODAY), filling.tell_owners(TODAY)] == [1, 0]
    assert CapacityNotice.objects.get().warn_days == 30
    allowed["bytes"] = 105 * GIB
    assert [filling.tell_owners(TODAY), filling.tell_owners(TODAY)] == [1, 0]
    allowed["bytes"] = 500 * GIB
    assert filling.tell_owners(TODAY) == 0
    assert not CapacityNotice.objects.exists()
    process_until_idle()


def test_uploads_are_refused_before_the_disk_is_full_F5(
    in_clinic_a: Clinic, disk: DiskPlace, room: dict[str, int]
) -> None:
    check_room()
    room["bytes"] = GIB - 1
    with pytest.raises(PlaceFullError):
        check_room()


def test_a_day_is_sampled_once(in_clinic_a: Clinic, disk: DiskPlace) -> None:
    write_blobs(in_clinic_a, "file", [bytes(1000)])
    capacity.sample(TODAY)
    copy_due()
    write_blobs(in_clinic_a, "file", [bytes(500)])
    capacity.sample(TODAY)
    samples = {(row.place, row.clinic_id): row.used_bytes for row in CapacitySample.objects.all()}
    assert samples[("", in_clinic_a.pk)] == 1500
    assert samples[("blobs", None)] > 1500
