"""What is wrong with the backups, told within minutes by mail and webhook, once; and that it is over."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.backup.models import Alarm, DatabaseCopy, Drill
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.notices.services import send_mail, send_webhook
from apps.storage.services import places_forecast
from apps.studies.services import damaged_studies

log = logging.getLogger(__name__)

LATE_DRILL: Final = timedelta(hours=26)
"""A night and a little: a drill begins at its hour and takes its time."""
LATE_COPY: Final = timedelta(minutes=3)
"""The program that ships says how it is twice a minute, and what it ships is seconds old."""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong now."""

    code: str
    item: str
    message: str


def watch(now: datetime | None = None) -> list[Alarm]:
    """Compare how things are with the alarms that are up; raise and clear, and tell; return the new ones."""
    found = {(each.code, each.item): each for each in troubles(now or timezone.now())}
    for alarm in Alarm.objects.filter(cleared_at=None):
        if (alarm.code, alarm.item) in found:
            del found[alarm.code, alarm.item]
        else:
            _clear(alarm)
    return [raised for trouble in found.values() if (raised := _raise(trouble))]


def troubles(now: datetime) -> Iterator[Trouble]:
    """Yield what is wrong with the images, with the room for them, and with copies and drills of every replica."""
    yield from _lost_images()
    yield from _filling_places(now)
    if not settings.REPLICAS or not (begun_at := _begun_at()):
        return
    for place in settings.REPLICAS:
        yield from _late_copy(place, begun_at, now)
        yield from _drills(place, begun_at, now)


def _lost_images() -> Iterator[Trouble]:
    with every_clinic():
        for study in damaged_studies():
            message = _("%(count)d images of study %(study)s (%(clinic)s) are damaged in every copy.") % {
                "count": study.lost_instance_count,
                "study": study.public_id,
                "clinic": study.clinic.slug,
            }
            yield Trouble("images-lost", study.public_id, message)


def _filling_places(now: datetime) -> Iterator[Trouble]:
    for forecast in places_forecast(now.date()):
        if days := forecast.warn_days(now.date()):
            message = _("%(place)s will be full in %(days)d days or less: then uploads are refused.") % {
                "place": forecast.name,
                "days": days,
            }
            yield Trouble(f"place-fills-{days}", forecast.name, message)


def _begun_at() -> datetime | None:
    """Return since when there is something to keep: nothing of a new installation is late."""
    first = Clinic.objects.order_by("created_at").first()
    return first.created_at if first else None


def _late_copy(place: str, begun_at: datetime, now: datetime) -> Iterator[Trouble]:
    if now - begun_at < LATE_COPY:
        return
    row = DatabaseCopy.objects.filter(pk=place).first()
    if row is None or now - row.seen_at > LATE_COPY:
        yield Trouble("copy-stopped", place, _("The database is not being copied to %(place)s.") % {"place": place})
    elif row.code or row.shipped_until is None or row.seen_at - row.shipped_until > LATE_COPY:
        yield Trouble("copy-late", place, _("The copy of the database in %(place)s is behind.") % {"place": place})


def _drills(place: str, begun_at: datetime, now: datetime) -> Iterator[Trouble]:
    finished = Drill.objects.filter(place=place).exclude(state=Drill.State.RUNNING)
    passed = finished.filter(state=Drill.State.PASSED).order_by("-finished_at").first()
    proven_at = passed.finished_at if passed and passed.finished_at else begun_at
    if now - max(begun_at, proven_at) > LATE_DRILL:
        yield Trouble("drill-late", place, _("No restore from %(place)s was proven for a day.") % {"place": place})
    last = finished.order_by("-finished_at").first()
    if last and last.state == Drill.State.FAILED:
        failures = json.loads(last.content)["failures"]
        first = failures[0]
        code = "drill-thin" if {each["code"] for each in failures} == {"drill-thin"} else "drill-failed"
        message = _("The restore drill from %(place)s failed (%(count)d findings). The first: %(message)s") % {
            "place": place,
            "count": len(failures),
            "message": first["message"],
        }
        yield Trouble(code, f"{place}: {first['item']}"[:200], message[:500])


def _raise(trouble: Trouble) -> Alarm | None:
    try:
        with transaction.atomic():
            alarm = Alarm.objects.create(code=trouble.code, item=trouble.item, message=trouble.message)
            _tell(alarm)
    except IntegrityError:
        # Somebody else was faster, and told it.
        return None
    log.critical("backup alarm", extra={"code": trouble.code})
    return alarm


def _clear(alarm: Alarm) -> None:
    with transaction.atomic():
        now = timezone.now()
        if Alarm.objects.filter(pk=alarm.pk, cleared_at=None).update(cleared_at=now):
            alarm.cleared_at = now
            _tell(alarm)


def _tell(alarm: Alarm) -> None:
    for address in recipients():
        send_mail(address, "backup_alarm", {"alarm": alarm, "base_url": settings.BASE_URL})
    send_webhook(
        {
            "kind": "backup-alarm",
            "installation": settings.BASE_URL,
            "code": alarm.code,
            "item": alarm.item,
            "message": alarm.message,
            "raised_at": alarm.raised_at.isoformat(),
            "cleared_at": alarm.cleared_at.isoformat() if alarm.cleared_at else None,
        }
    )


def recipients() -> Iterable[str]:
    """Return the addresses: those of the settings, else the platform's admins, else all owners."""
    if settings.ALARM_EMAILS:
        return sorted(set(settings.ALARM_EMAILS))
    admins = User.objects.filter(is_active=True, is_staff=True)
    if addresses := [user.email for user in admins if user.is_platform_admin]:
        return sorted(addresses)
    with every_clinic():
        owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True)
        return sorted(set(owners.values_list("user__email", flat=True)))
