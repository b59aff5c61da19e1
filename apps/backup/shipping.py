"""What the database's own tool wrote, sealed and brought to every storage place within seconds; old copies removed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils import timezone

from apps.backup import postgres
from apps.backup.chain import link_of, superfluous
from apps.backup.errors import BackupDamagedError
from apps.backup.sealing import Facts
from apps.backup.shelf import Shelf, facts_of, name_of
from apps.backup.watching import FolderWatch
from apps.keys.services import BackupKey
from apps.storage.errors import StorageError

log = logging.getLogger(__name__)

REST_SECONDS: Final = 5.0
"""For how long a place that failed is left alone."""


@dataclass
class Shipment:
    """One storage place and how far it is."""

    shelf: Shelf
    names: set[str] | None = None
    """Of what is there; unknown before the place answered once."""
    shipped_until: datetime | None = None
    code: str = ""
    resting_until: float = 0.0

    @property
    def file_count(self) -> int:
        """How many files are there."""
        return len(self.names or ())


@dataclass
class Shipper:
    """Brings a folder's files to all places, again and again; for one process."""

    stream: Path
    key: BackupKey
    places: list[str]
    shipments: list[Shipment] = field(default_factory=list)
    _known: dict[tuple[str, int, int], Facts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shipments = [Shipment(Shelf(place)) for place in self.places]
        self._watch = FolderWatch(self.stream)

    def ship(self) -> int:
        """Bring what is new to each place; return how many files went. A place that fails is tried again later."""
        # Taken before looking: what is committed later may be missing.
        looked_at = timezone.now()
        facts = self._files()
        shipped = 0
        for shipment in self.shipments:
            if shipment.resting_until > time.monotonic():
                continue
            try:
                shipped += self._ship_to(shipment, facts)
            except StorageError as error:
                shipment.code = error.code
                shipment.names = None
                shipment.resting_until = time.monotonic() + REST_SECONDS
                log.warning(
                    "the database is not copied: a place does not answer",
                    extra={"place": shipment.shelf.place_name, "code": error.code},
                )
            else:
                shipment.code = ""
                newest = max((each.modified_ns for each in facts), default=0)
                shipment.shipped_until = min(looked_at, datetime.fromtimestamp(newest / 1e9, UTC)) if newest else None
        return shipped

    def _ship_to(self, shipment: Shipment, facts: list[Facts]) -> int:
        if shipment.names is None:
            shipment.names = shipment.shelf.names()
        shipped = 0
        for each in facts:
            name = name_of(each, self.key)
            if name in shipment.names:
                continue
            try:
                shipment.shelf.put(self.stream / each.path, each, self.key)
            except (FileNotFoundError, BackupDamagedError):
                # Joined into another file, or still growing: the next round sees what became of it.
                self._watch.forget()
                continue
            days = settings.REPLICA_LOCK_DAYS.get(shipment.shelf.place_name, 0)
            if days and _is_lasting(each):
                shipment.shelf.place.lock(name, timezone.now() + timedelta(days=days))
            shipment.names.add(name)
            shipped += 1
        return shipped

    def _files(self) -> list[Facts]:
        """Return the facts of all finished files, the oldest first. Each is read and hashed once."""
        found: dict[tuple[str, int, int], Facts] = {}
        for path, size_bytes, modified_ns in self._watch.files():
            known = (str(path), modified_ns, size_bytes)
            try:
                found[known] = self._known.get(known) or facts_of(path, self.stream)
            except FileNotFoundError:
                continue
        self._known = found
        return sorted(found.values(), key=lambda each: each.modified_ns)

    def tidy(self) -> int:
        """Remove from every place what need not be kept any more; return how many files."""
        removed = 0
        for shipment in self.shipments:
            try:
                removed += tidy(shipment.shelf)
                shipment.names = None
            except StorageError as error:
                # Locked ones refuse; they go when their time is over.
                log.warning(
                    "old copies of the database remain",
                    extra={"place": shipment.shelf.place_name, "code": error.code},
                )
        return removed


def tidy(shelf: Shelf, now: datetime | None = None) -> int:
    """Remove what one place need not keep any more; return how many files. Raises StorageError."""
    stored, _unreadable = shelf.contents()
    by_path = {each.facts.path: each.name for each in stored}
    facts = [each.facts for each in stored]
    links = [link for each in facts if (link := link_of(each.path, each.modified_ns))]
    parts = [part for each in facts if (part := postgres.part_of(each.path, each.modified_ns))]
    now, kept = now or timezone.now(), timedelta(days=settings.BACKUP_DAYS)
    gone = [link.path for link in superfluous(links, now, kept)]
    gone += [part.path for part in postgres.superfluous(parts, now, kept)]
    shelf.delete([by_path[path] for path in gone])
    return len(gone)


def _is_lasting(facts: Facts) -> bool:
    """Whether a file stays long enough to be worth locking: what joins others, not what is joined within the hour."""
    link = link_of(facts.path, facts.modified_ns)
    part = postgres.part_of(facts.path, facts.modified_ns)
    return link.level >= 2 if link else part is None or part.offset is None
