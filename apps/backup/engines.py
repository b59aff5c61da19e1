"""The two databases alike: which files make a moment, and the database made of them."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from apps.backup import chain, litestream, postgres
from apps.backup.errors import BackupError, BackupIncompleteError
from apps.backup.shelf import Stored


@dataclass(frozen=True)
class Chosen:
    """The files that make a database, in order, and the last moment that is in it."""

    files: Sequence[Stored]
    until: datetime


class Engine(ABC):
    """Makes databases of what was shipped. All raise BackupError naming the item."""

    @abstractmethod
    def choose(self, stored: Sequence[Stored], at: datetime | None = None) -> Chosen:
        """Return the files of the database as of then, or of the newest one."""

    @abstractmethod
    def span(self, stored: Sequence[Stored]) -> tuple[datetime, datetime]:
        """Return the first and the last moment that can be restored."""

    @abstractmethod
    def build(self, folder: Path, chosen: Chosen, at: datetime | None) -> None:
        """Make the database that the settings name of the files in ``folder``."""

    @abstractmethod
    def probe(self, folder: Path, chosen: Chosen, at: datetime, work: Path) -> None:
        """Make another database below ``work``, look into it, and let it go."""

    @abstractmethod
    def close(self) -> None:
        """End what `build` started."""


class SqliteEngine(Engine):
    """A database file, by Litestream."""

    def __init__(self) -> None:
        self._database = Path(str(connection.settings_dict["NAME"]))

    def choose(self, stored: Sequence[Stored], at: datetime | None = None) -> Chosen:
        """See Engine."""
        links, by_path = self._links(stored)
        files = chain.plan(links, at)
        return Chosen([by_path[link.path] for link in files], files[-1].written_at)

    def span(self, stored: Sequence[Stored]) -> tuple[datetime, datetime]:
        """See Engine."""
        links, _ = self._links(stored)
        snapshots = [link.written_at for link in links if link.is_snapshot]
        if not snapshots:
            raise BackupIncompleteError("There is no snapshot of the database.", "snapshot")
        return min(snapshots), chain.plan(links)[-1].written_at

    def build(self, folder: Path, chosen: Chosen, at: datetime | None) -> None:
        """See Engine. The file has its name only when it is whole."""
        aside = self._database.with_name(f".{self._database.name}.part")
        for suffix in ("", "-wal", "-shm"):
            aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        litestream.put_together(_line_folder(folder, chosen), aside)
        aside.chmod(0o600)
        aside.rename(self._database)

    def probe(self, folder: Path, chosen: Chosen, at: datetime, work: Path) -> None:
        """See Engine."""
        database = work / "moment.sqlite3"
        try:
            litestream.put_together(_line_folder(folder, chosen), database)
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as restored:
                restored.execute("SELECT count(*) FROM django_migrations").fetchone()
        except sqlite3.DatabaseError as error:
            raise BackupError(f"The database does not answer: {error}", "database") from None
        finally:
            database.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing runs."""

    def _links(self, stored: Sequence[Stored]) -> tuple[list[chain.Link], dict[str, Stored]]:
        by_path = {each.facts.path: each for each in sorted(stored, key=lambda each: each.facts.modified_ns)}
        found = (chain.link_of(each.facts.path, each.facts.modified_ns) for each in by_path.values())
        return [link for link in found if link], by_path


class PostgresEngine(Engine):
    """A cluster of files, by PostgreSQL's own tools; `build` starts a server on it where the settings look for one."""

    def __init__(self, target: Path, *, is_started: bool = True) -> None:
        self._target, self._is_started = target, is_started
        self._cluster: postgres.Cluster | None = None

    def choose(self, stored: Sequence[Stored], at: datetime | None = None) -> Chosen:
        """See Engine."""
        parts, by_path = self._parts(stored)
        files = postgres.plan(parts, at)
        newest = max(part.written_at for part in files)
        return Chosen([by_path[part.path] for part in files], min(at, newest) if at else newest)

    def span(self, stored: Sequence[Stored]) -> tuple[datetime, datetime]:
        """See Engine."""
        parts, _ = self._parts(stored)
        bases = [part.written_at for part in parts if part.start]
        if not bases:
            raise BackupIncompleteError("There is no base copy of the database.", "base")
        return min(bases), max(part.written_at for part in postgres.plan(parts))

    def build(self, folder: Path, chosen: Chosen, at: datetime | None) -> None:
        """See Engine."""
        self._lay_out(folder, chosen, self._target, at)
        if self._is_started:
            self._cluster = postgres.Cluster(self._target, Path(str(connection.settings_dict["HOST"])))
            self._cluster.start(self._reach())

    def probe(self, folder: Path, chosen: Chosen, at: datetime, work: Path) -> None:
        """See Engine."""
        data_dir, sockets = work / "m" / "data", work / "m" / "s"
        self._lay_out(folder, chosen, data_dir, at)
        cluster = postgres.Cluster(data_dir, sockets)
        cluster.start(self._reach())
        try:
            with psycopg.connect(host=str(sockets), **self._reach()) as restored:
                restored.execute("SELECT count(*) FROM django_migrations")
        except psycopg.Error as error:
            raise BackupError(f"The database does not answer: {type(error).__name__}", "database") from None
        finally:
            cluster.stop()

    def close(self) -> None:
        """See Engine."""
        if self._cluster:
            self._cluster.stop()

    def _lay_out(self, folder: Path, chosen: Chosen, data_dir: Path, at: datetime | None) -> None:
        parts, _ = self._parts(chosen.files)
        by_path = {part.path: part for part in parts}
        # PostgreSQL refuses a moment behind its last commit; with all files there is nothing to leave out.
        moment = at if at == chosen.until else None
        postgres.lay_out(folder, [by_path[each.facts.path] for each in chosen.files], data_dir, moment)

    def _reach(self) -> dict[str, Any]:
        return {"user": str(connection.settings_dict["USER"]), "dbname": str(connection.settings_dict["NAME"])}

    def _parts(self, stored: Sequence[Stored]) -> tuple[list[postgres.Part], dict[str, Stored]]:
        by_path = {each.facts.path: each for each in sorted(stored, key=lambda each: each.facts.modified_ns)}
        found = (postgres.part_of(each.facts.path, each.facts.modified_ns) for each in by_path.values())
        return [part for part in found if part], by_path


def engine_below(work: Path) -> Engine:
    """Return the engine of the database that the settings name; ``work``: where a cluster's files may go."""
    return SqliteEngine() if connection.vendor == "sqlite" else PostgresEngine(work / "cluster" / "data")


def _line_folder(folder: Path, chosen: Chosen) -> Path:
    return folder / chosen.files[0].facts.path.partition("/")[0]
