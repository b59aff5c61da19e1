"""The database of a moment, made from one storage place and the master key."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from apps.backup.engines import Chosen, Engine
from apps.backup.errors import BackupError, BackupIncompleteError, BackupKeyError
from apps.backup.shelf import Shelf, Stored
from apps.storage.errors import StorageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What was put together: from where, of which files, and the last moment that is in it."""

    place: str
    files: Sequence[Stored]
    until: datetime


def choose_place(name: str = "") -> list[str]:
    """Return the places to try, in order: the one that is named, else every replica. Raises BackupError."""
    replicas = list(settings.REPLICAS)
    if name:
        wanted = [each for each in replicas if name in {each, each.removeprefix("replica-")}]
        if not wanted:
            raise BackupError(f"There is no storage place {name}: PORTAL_REPLICAS names them.", name)
        return wanted
    if not replicas:
        raise BackupError("PORTAL_REPLICAS names no storage place: there is nothing to restore from.", "replicas")
    return replicas


def restore_database(engine: Engine, work: Path, *, place: str = "", at: datetime | None = None) -> Restored:
    """Make the database as of ``at`` (or the newest one) from the first place that gives it whole.

    ``work`` is a folder of ours for the files on their way, removed at the end. Raises BackupError, of the last place
    that was tried, or StorageError.
    """
    failures: list[BackupError | StorageError] = []
    for name in choose_place(place):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700, parents=True)
        try:
            shelf = Shelf(name)
            _bring_back(shelf)
            return _from(shelf, engine, work, at)
        except (BackupError, StorageError) as error:
            log.warning("a place does not give the database: %s", error, extra={"place": name, "code": error.code})
            failures.append(error)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    raise failures[-1]


def _bring_back(shelf: Shelf) -> None:
    """Undo what whoever had all keys did to locked copies: these can be hidden, but not destroyed.

    A drill knows of no locks: it takes copies as they are. Where versions may not be listed, so does a restore.
    """
    if not settings.REPLICA_LOCK_DAYS.get(shelf.place_name):
        return
    try:
        if count := shelf.bring_all_back():
            log.warning("copies of the database were deleted or replaced: %d brought back", count)
    except StorageError as error:
        log.warning(
            "hidden copies of the database could not be looked for: %s",
            error,
            extra={"place": shelf.place_name, "code": error.code},
        )


def _from(shelf: Shelf, engine: Engine, work: Path, at: datetime | None) -> Restored:
    stored, unreadable = shelf.contents()
    if not stored and unreadable:
        raise next((each.error for each in unreadable if isinstance(each.error, BackupKeyError)), unreadable[0].error)
    if not stored:
        raise BackupIncompleteError("There is no backup of the database in this place.", "snapshot")
    chosen = engine.choose(stored, at)
    fetch(shelf, chosen, work)
    engine.build(work, chosen, at)
    return Restored(shelf.place_name, chosen.files, chosen.until)


def fetch(shelf: Shelf, chosen: Chosen, work: Path) -> None:
    """Bring files into ``work``; raises BackupError naming one that is damaged."""
    keys = shelf.keys()
    for stored in chosen.files:
        shelf.fetch(stored, work, keys)
