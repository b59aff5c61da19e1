"""The folder `backup` of one storage place: sealed files of the database, each under a name that says nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.utils import timezone

from apps.backup.errors import BackupDamagedError, BackupIncompleteError, BackupKeyError
from apps.backup.sealing import PREFIX_BYTES, Facts, Keys, SealedFile, open_key, read_prefix, seal
from apps.keys.services import BackupKey
from apps.storage.errors import BlobExistsError, BlobMissingError, CorruptBlobError
from apps.storage.services import Place, object_name, place_named

FOLDER: Final = "backup"
THREADS: Final = 8


@dataclass(frozen=True)
class Stored:
    """One file on the shelf: what it is, the object's name and size."""

    facts: Facts
    name: str
    object_bytes: int


@dataclass(frozen=True)
class Unreadable:
    """An object on the shelf that does not open, and why (the error names it)."""

    name: str
    error: BackupDamagedError | BackupKeyError | BackupIncompleteError


class Shelf:
    """The backups of the database in one storage place (a name in settings.STORAGES)."""

    def __init__(self, place_name: str) -> None:
        self.place_name = place_name
        self.place: Place = place_named(place_name).below(FOLDER)

    def names(self) -> set[str]:
        """Return the names of all objects. Raises PlaceUnavailableError, as everything here does."""
        return {stored.name for stored in self.place.list_objects()}

    def put(self, path: Path, facts: Facts, key: BackupKey) -> str:
        """Seal a file and store it; return the object's name. One that is there already is left alone."""
        name = name_of(facts, key)
        with path.open("rb") as file:
            writer = self.place.begin(name)
            try:
                for piece in seal(file, facts, name, key):
                    writer.write(piece)
                writer.commit()
            except BlobExistsError:
                writer.abort()
            except BaseException:
                writer.abort()
                raise
        return name

    def contents(self, *, since: datetime | None = None) -> tuple[list[Stored], list[Unreadable]]:
        """Return what is on the shelf, by its facts, and what does not open; `since`: written after then."""
        names = sorted(each.name for each in self.place.list_objects() if since is None or each.modified_at >= since)
        good: list[Stored] = []
        bad: list[Unreadable] = []
        with ThreadPoolExecutor(THREADS) as pool:
            keys = self._keys(pool.map(self._key_of, names))
            for found in pool.map(lambda name: self._look(name, keys), names):
                if isinstance(found, Stored):
                    good.append(found)
                else:
                    bad.append(found)
        return good, bad

    def fetch(self, stored: Stored, target: Path, keys: Keys | None = None) -> None:
        """Write a file of the backup below ``target``, with its time; raises BackupDamagedError naming it."""
        path = target / stored.facts.path
        if not path.resolve().is_relative_to(target.resolve()):
            raise BackupDamagedError(stored.facts.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with closing(self.place.open(stored.name, stored.object_bytes)) as source, path.open("wb") as out:
                os.fchmod(out.fileno(), 0o600)
                for piece in SealedFile(source.read, stored.object_bytes, stored.name, keys or self.keys()).content():
                    out.write(piece)
        except (BlobMissingError, CorruptBlobError):
            raise BackupDamagedError(stored.facts.path) from None
        os.utime(path, ns=(stored.facts.modified_ns, stored.facts.modified_ns))

    def keys(self) -> Keys:
        """Return every backup key that the master key at hand opens, by its id."""
        with ThreadPoolExecutor(THREADS) as pool:
            return self._keys(pool.map(self._key_of, self.names()))

    def bring_all_back(self) -> int:
        """Undo what was done to objects since the oldest that is kept, where the place has versions; how many."""
        return self.place.bring_all_back(timezone.now() - timedelta(days=settings.BACKUP_DAYS))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects."""
        self.place.delete(names)

    def _keys(self, found: Iterable[tuple[bytes, bytes] | None]) -> Keys:
        return dict(each for each in found if each)

    def _key_of(self, name: str) -> tuple[bytes, bytes] | None:
        try:
            size = self.place.size(name) or 0
            with closing(self.place.open(name, size)) as source:
                prefix = read_prefix(bytes(source.read(0, min(size, PREFIX_BYTES))), name)
        except (BackupDamagedError, BlobMissingError, CorruptBlobError):
            return None
        key = open_key(prefix)
        return (prefix.key_id, key) if key else None

    def _look(self, name: str, keys: Keys) -> Stored | Unreadable:
        try:
            size = self.place.size(name)
            if not size:
                raise BackupDamagedError(name)
            with closing(self.place.open(name, size)) as source:
                return Stored(SealedFile(source.read, size, name, keys).facts, name, size)
        except (BlobMissingError, CorruptBlobError):
            return Unreadable(name, BackupDamagedError(name))
        except (BackupDamagedError, BackupKeyError) as error:
            return Unreadable(name, error)


def facts_of(path: Path, root: Path) -> Facts:
    """Return a file's facts, its path below ``root``; raises OSError when it is gone."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Facts(str(path.relative_to(root)), status.st_size, status.st_mtime_ns, digest)


def name_of(facts: Facts, key: BackupKey) -> str:
    """Return the name of a file's object: the same file always gets the same one, and it tells nobody anything."""
    said = f"{facts.path}\0{facts.sha256}\0{facts.modified_ns}".encode()
    return object_name(base64.urlsafe_b64encode(hmac.digest(key.key, said, "sha256")).decode()[:22])
