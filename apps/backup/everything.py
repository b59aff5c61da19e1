"""Everything back on a machine where nothing is: the database, what must follow it, and a record of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.core.management import call_command
from django.db import connection

from apps.audit.services import Context, record
from apps.backup.continuous import folder
from apps.backup.engines import PostgresEngine, SqliteEngine
from apps.backup.errors import RestoreRefusedError
from apps.backup.restoring import Restored, restore_database
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.keys.services import check_master_key, load_master_key
from apps.storage.models import Blob
from apps.storage.services import PRIMARY, hold_leftovers, place_named, rebuild
from apps.studies.services import replay_erasures


@dataclass(frozen=True)
class Outcome:
    """What came back: the database, and how many of the blobs it names the first storage place lacks."""

    place: str
    until: datetime
    blob_count: int
    missing_count: int


def restore_everything(*, at: datetime | None = None, place: str = "") -> Outcome:
    """Restore the database as of ``at``, migrate it to this program, and let the copies fill what is missing.

    Nothing that exists is replaced. Raises RestoreRefusedError where a database is, KeyUnavailableError without the
    right master key, BackupError and StorageError.
    """
    if connection.vendor != "sqlite":
        raise RestoreRefusedError("Say where PostgreSQL's data directory is to be (--pgdata).")
    _make_ready()
    database = Path(str(connection.settings_dict["NAME"]))
    if database.exists():
        raise RestoreRefusedError(
            f"There is a database already ({database}): move it away first, nothing is ever replaced.", str(database)
        )
    connection.close()
    restored = restore_database(SqliteEngine(), folder() / "fetched", place=place, at=at)
    return settle(restored.place, restored.until)


def restore_cluster(target: Path, *, at: datetime | None = None, place: str = "") -> Restored:
    """Lay out PostgreSQL's data directory as of ``at``; a server started on it recovers, then `finish` does the rest.

    Raises as `restore_everything` does; ``target`` must be empty.
    """
    _make_ready()
    if target.exists() and any(target.iterdir()):
        raise RestoreRefusedError(f"{target} is not empty: nothing is ever replaced.", str(target))
    engine = PostgresEngine(target, is_started=False)
    restored = restore_database(engine, folder() / "fetched", place=place, at=at)
    _note().write_text(json.dumps({"place": restored.place, "until": restored.until.isoformat()}))
    return restored


def finish() -> Outcome:
    """Do what must follow `restore_cluster` once the server runs; raises RestoreRefusedError if there was none."""
    try:
        noted = json.loads(_note().read_text())
    except FileNotFoundError:
        raise RestoreRefusedError("No cluster was restored here: see --pgdata.") from None
    outcome = settle(noted["place"], datetime.fromisoformat(noted["until"]))
    _note().unlink()
    return outcome


def _make_ready() -> None:
    load_master_key()
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whatever arrived after the moment that comes back has no row: it is kept until somebody has looked.
    hold_leftovers()


def _note() -> Path:
    return folder() / "restored.json"


def settle(place: str, until: datetime) -> Outcome:
    """Do what must follow a restored database; see `restore_everything`."""
    call_command("migrate", verbosity=0, interactive=False)
    check_master_key()
    # What was destroyed on purpose since then must not live again (BAK-07).
    replay_erasures(context=Context.system("restore"))
    blob_count, missing_count = _count_missing()
    if missing_count:
        rebuild(PRIMARY)
    _record(place, until)
    return Outcome(place, until, blob_count, missing_count)


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


def _record(place: str, until: datetime) -> None:
    """Say in every trail that it begins again here: what came after that moment is not in it (BAK-07)."""
    details = {"place": place, "until_at": until.isoformat()}
    context = Context.system("restore")
    record("installation.restored", context=context, clinic_id=None, details=details)
    for clinic in Clinic.objects.order_by("pk"):
        record("installation.restored", context=context, clinic_id=clinic.pk, details=details)
