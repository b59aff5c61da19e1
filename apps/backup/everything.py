"""Everything back on a machine where nothing is: the database, what must follow it, and a record of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from apps.audit.services import Context, record
from apps.backup.continuous import folder
from apps.backup.errors import RestoreRefusedError
from apps.backup.restoring import Restored, restore_sqlite
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.keys.services import check_master_key, load_master_key
from apps.storage.models import Blob
from apps.storage.services import PRIMARY, hold_leftovers, place_named, rebuild
from apps.studies.services import replay_erasures


@dataclass(frozen=True)
class Outcome:
    """What came back: the database, and how many of the blobs it names the first storage place lacks."""

    restored: Restored
    blob_count: int
    missing_count: int


def restore_everything(*, at: datetime | None = None, place: str = "") -> Outcome:
    """Restore the database as of ``at``, migrate it to this program, and let the copies fill what is missing.

    Nothing that exists is replaced. Raises RestoreRefusedError where a database is, KeyUnavailableError without the
    right master key, BackupError and StorageError.
    """
    load_master_key()
    Path(settings.DATA_DIR).mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whatever arrived after the moment that comes back has no row: it is kept until somebody has looked.
    hold_leftovers()
    if connection.vendor != "sqlite":
        raise RestoreRefusedError("Only SQLite is restored by this command: restore PostgreSQL with its own tools.")
    database = Path(str(connection.settings_dict["NAME"]))
    if database.exists():
        raise RestoreRefusedError(
            f"There is a database already ({database}): move it away first, nothing is ever replaced.", str(database)
        )
    connection.close()
    restored = restore_sqlite(database, folder() / "fetched", place=place, at=at)
    return settle(restored)


def settle(restored: Restored) -> Outcome:
    """Do what must follow a restored database; see `restore_everything`."""
    call_command("migrate", verbosity=0, interactive=False)
    check_master_key()
    # What was destroyed on purpose since then must not live again (BAK-07).
    replay_erasures(context=Context.system("restore"))
    blob_count, missing_count = _count_missing()
    if missing_count:
        rebuild(PRIMARY)
    _record(restored)
    return Outcome(restored, blob_count, missing_count)


def _count_missing() -> tuple[int, int]:
    """Return how many blobs the database names, and how many of them the first place has not got."""
    there = {stored.name for stored in place_named(PRIMARY).list_objects()}
    total = missing = 0
    with every_clinic():
        names = Blob.objects.filter(state=Blob.State.STORED).values_list("public_id", flat=True)
        for public_id in names.iterator():
            total += 1
            missing += Blob(public_id=public_id).object_name not in there
    return total, missing


def _record(restored: Restored) -> None:
    """Say in every trail that it begins again here: what came after that moment is not in it (BAK-07)."""
    details = {"place": restored.place, "until_at": restored.until.isoformat()}
    context = Context.system("restore")
    record("installation.restored", context=context, clinic_id=None, details=details)
    for clinic in Clinic.objects.order_by("pk"):
        record("installation.restored", context=context, clinic_id=clinic.pk, details=details)
