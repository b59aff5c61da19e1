"""PostgreSQL's own tools: a base copy each day, its log as it is written, and a cluster made of both again.

`pg_receivewal` takes the write-ahead log from the server by a replication slot, each transaction as it commits;
`pg_basebackup` takes a copy of all files to begin with. Both need no more than a connection with the right REPLICATION
(https://www.postgresql.org/docs/current/continuous-archiving.html). What they write is sealed and shipped as SQLite's
is. The part of a log file that is still being written goes as pieces, a few kilobytes each.

    <line>/pg/base-<first log file>-<time>.tar.gz    <line>/pg/wal/<log file>.gz    <line>/pg/wal/<log file>.<offset>
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.backup.errors import BackupError, BackupIncompleteError

SLOT: Final = "viewbox_backup"
PAGE_BYTES: Final = 8192
SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
NAME: Final = re.compile(
    r"(?P<line>pg-\d+)/pg/(?:base-(?P<start>[0-9A-F]{24})-(?P<time>\d{8}T\d{6})\.tar\.gz"
    r"|wal/(?P<segment>[0-9A-F]{24})(?:\.gz|\.(?P<offset>[0-9a-f]{8})))"
)
BASE_EVERY: Final = timedelta(hours=24)
PIECES_KEPT: Final = timedelta(hours=1)
KEPT_HERE: Final = timedelta(days=3)
"""For how long log files wait on this machine for a place that is away."""
START_SECONDS: Final = 60.0
RECOVERY_SECONDS: Final = 6 * 60 * 60.0


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; raises BackupError naming the package."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    if found := shutil.which(name):
        return found
    package = "postgresql" if name in {"postgres", "pg_ctl"} else "postgresql-client"
    raise BackupError(f"{name} is not installed: install the package {package}.", name)


def parameters() -> dict[str, str]:
    """Return libpq's environment for the database in the settings."""
    values = connection.settings_dict
    given = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD"}
    return {name: str(values[key]) for name, key in given.items() if values.get(key)}


def line_of() -> str:
    """Return the name of the server's history: its system identifier, the same for all that is restored of it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier FROM pg_control_system()")
        return f"pg-{cursor.fetchone()[0]}"


@dataclass
class Receiver:
    """Takes base copies and the log of the server in the settings into a folder of sealed shipping."""

    received: Path
    stream: Path

    def __post_init__(self) -> None:
        self.line = line_of()
        self.target = self.stream / self.line / "pg"
        for folder in (self.received, self.target / "wal"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._piece_ends: dict[str, int] = {}
        self._partial_ns = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Make the slot if there is none, and start to receive; the caller ends the process."""
        environment = os.environ | parameters()
        command = [program("pg_receivewal"), "-w", "--slot", SLOT, "-D", str(self.received)]
        done = subprocess.run(
            [*command, "--create-slot", "--if-not-exists"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BackupError(f"PostgreSQL gives no replication slot: {done.stderr.strip()[-300:]}", "slot")
        watched = ["setpriv", "--pdeathsig", "TERM", *command, "--synchronous", "--status-interval", "1"]
        return subprocess.Popen(watched, env=environment, stdin=subprocess.DEVNULL)

    def take_base_if_due(self, now: datetime | None = None) -> bool:
        """Take a base copy if the last one is a day old; whether one was taken. Raises BackupError."""
        now = now or timezone.now()
        there = sorted(self.target.glob("base-*.tar.gz"))
        if there and datetime.fromtimestamp(there[-1].stat().st_mtime, UTC) > now - BASE_EVERY:
            return False
        self.take_base()
        for old in there:
            # It is in every place long since.
            old.unlink(missing_ok=True)
        return True

    def take_base(self) -> Path:
        """Take a base copy now; return its file. Raises BackupError."""
        work = self.received.with_name("base")
        shutil.rmtree(work, ignore_errors=True)
        done = subprocess.run(
            [program("pg_basebackup"), "-w", "-D", str(work), "-Ft", "-Z", "client-gzip:1", "-X", "none", "-c", "fast"],
            env=os.environ | parameters(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BackupError(f"PostgreSQL gives no base copy: {done.stderr.strip()[-300:]}", "base")
        with tarfile.open(work / "base.tar.gz") as archive:
            label = archive.extractfile("backup_label")
            text = label.read().decode() if label else ""
        start = re.search(r"START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", text)
        if not start:
            raise BackupError("The base copy does not say where the log begins.", "base")
        target = self.target / f"base-{start[1]}-{timezone.now():%Y%m%dT%H%M%S}.tar.gz"
        (work / "base.tar.gz").rename(target)
        shutil.rmtree(work, ignore_errors=True)
        return target

    def collect(self) -> None:
        """Bring what was received since into the folder that is shipped: whole log files, and pieces of the last."""
        done = sorted(path for path in self.received.iterdir() if SEGMENT.fullmatch(path.name))
        for path in done:
            target = self.target / "wal" / f"{path.name}.gz"
            if not target.exists():
                aside = target.with_suffix(".tmp")
                with path.open("rb") as source, gzip.open(aside, "wb", compresslevel=1) as out:
                    shutil.copyfileobj(source, out)
                os.utime(aside, ns=(path.stat().st_mtime_ns,) * 2)
                aside.rename(target)
                for piece in self.target.glob(f"wal/{path.name}.[0-9a-f]*"):
                    if not piece.name.endswith((".gz", ".tmp")):
                        piece.unlink(missing_ok=True)
        for path in done[:-1]:
            # The receiver needs the last one to know where it was.
            path.unlink()
        for old in self.target.glob("wal/*.gz"):
            if (
                old.stat().st_mtime < time.time() - PIECES_KEPT.total_seconds()
                and not (self.received / old.stem).exists()
            ):
                old.unlink()
        for partial in self.received.glob("*.partial"):
            self._cut_piece(partial)

    def _cut_piece(self, partial: Path) -> None:
        segment = partial.stem
        try:
            modified_ns = partial.stat().st_mtime_ns
            if modified_ns == self._partial_ns:
                return
            # The last page may have grown since it went.
            begin = max(0, self._piece_ends.get(segment, 0) - PAGE_BYTES)
            with partial.open("rb") as file:
                file.seek(begin)
                content = file.read().rstrip(b"\0")
        except FileNotFoundError:
            return
        if not content:
            return
        target = self.target / "wal" / f"{segment}.{begin:08x}"
        aside = target.with_suffix(".tmp")
        aside.write_bytes(content)
        aside.rename(target)
        self._partial_ns = modified_ns
        self._piece_ends = {segment: (begin + len(content)) // PAGE_BYTES * PAGE_BYTES}


@dataclass(frozen=True)
class Part:
    """One file of a PostgreSQL backup."""

    path: str
    line: str
    start: str
    """Of a base copy: the first log file it needs."""
    segment: str
    offset: int | None
    written_at: datetime


def part_of(path: str, modified_ns: int) -> Part | None:
    """Return what a path says, None if it is no file of PostgreSQL's."""
    if not (found := NAME.fullmatch(path)):
        return None
    offset = int(found["offset"], 16) if found["offset"] else None
    written_at = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    return Part(path, found["line"], found["start"] or "", found["segment"] or "", offset, written_at)


def plan(parts: Iterable[Part], at: datetime | None = None) -> list[Part]:
    """Return the files that make the cluster as of then, the base copy first; raises BackupIncompleteError."""
    known = list(parts)
    bases = [part for part in known if part.start and (at is None or part.written_at <= at)]
    if not bases:
        raise BackupIncompleteError("There is no base copy of the database before then.", "base")
    base = max(bases, key=lambda part: part.written_at)
    log = [part for part in known if part.segment >= base.start and part.segment and part.line == base.line]
    whole = {part.segment: part for part in log if part.offset is None}
    pieces = [part for part in log if part.offset is not None and part.segment not in whole]
    names = sorted({*whole, *(part.segment for part in pieces)})
    if not names or names[0] != base.start:
        raise BackupIncompleteError(f"The log file {base.start} is missing.", base.start)
    for before, after in pairwise(names):
        if number_of(after) > number_of(before) + 1:
            raise BackupIncompleteError(f"A log file after {before} is missing.", before)
    return [base, *whole.values(), *sorted(pieces, key=lambda part: (part.segment, part.written_at))]


def number_of(segment: str) -> int:
    """Return how many log files of 16 MiB come before this one, whatever its timeline."""
    return int(segment[8:16], 16) * 256 + int(segment[16:], 16)


def superfluous(parts: Iterable[Part], now: datetime, kept: timedelta) -> list[Part]:
    """Return the files that are not to be kept any more: base copies older than ``kept``, and the log before the rest.

    The newest base copy stays however old it is, with all of the log since.
    """
    known = list(parts)
    gone: list[Part] = []
    for line in {part.line for part in known}:
        of_line = [part for part in known if part.line == line]
        bases = sorted((part for part in of_line if part.start), key=lambda part: part.written_at)
        staying = [base for base in bases if base.written_at >= now - kept] or bases[-1:]
        floor = min((base.start for base in staying), default="")
        whole = {part.segment for part in of_line if part.segment and part.offset is None}
        for part in of_line:
            is_before = (part.start and part not in staying) or (part.segment and part.segment < floor)
            is_joined = part.offset is not None and part.segment in whole and part.written_at < now - PIECES_KEPT
            if is_before or is_joined:
                gone.append(part)
    return gone


def lay_out(folder: Path, parts: list[Part], data_dir: Path, at: datetime | None) -> None:
    """Make a data directory that recovers when a server is started on it; ``folder`` holds the files of ``parts``."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(folder / parts[0].path) as archive:
        archive.extractall(data_dir, filter="tar")
    archived = data_dir / "viewbox_log"
    archived.mkdir(mode=0o700)
    for part in parts[1:]:
        if part.offset is None:
            with gzip.open(folder / part.path) as source, (archived / part.segment).open("wb") as out:
                shutil.copyfileobj(source, out)
            continue
        target = archived / part.segment
        if not target.exists():
            with target.open("wb") as out:
                out.truncate(16 << 20)
        with target.open("r+b") as out:
            out.seek(part.offset)
            out.write((folder / part.path).read_bytes())
    (data_dir / "pg_wal").mkdir(mode=0o700, exist_ok=True)
    (data_dir / "recovery.signal").touch()
    lines = ["restore_command = 'cp viewbox_log/%f \"%p\"'", "recovery_target_action = 'promote'"]
    if at:
        lines.append(f"recovery_target_time = '{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'")
    with (data_dir / "postgresql.auto.conf").open("a") as out:
        out.write("\n".join(["", *lines, ""]))


_LOG: Final = "viewbox_start.log"
_ENDED_EARLY: Final = b"recovery ended before configured recovery target was reached"


class Cluster:
    """A server of our own on a restored data directory: only this user reaches it, by a socket in its folder."""

    def __init__(self, data_dir: Path, sockets: Path) -> None:
        self._data_dir, self._sockets = data_dir, sockets
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, reach: Mapping[str, Any]) -> None:
        """Start and wait until it has recovered; ``reach`` are psycopg's parameters. Raises BackupError."""
        self._sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._data_dir / "viewbox.conf").write_text(
            f"listen_addresses = ''\nunix_socket_directories = '{self._sockets}'\n"
            f"hot_standby = off\nlc_messages = 'C'\n"
            f"hba_file = '{self._data_dir}/viewbox_hba.conf'\nmax_connections = 20\nfsync = off\narchive_mode = off\n"
        )
        (self._data_dir / "viewbox_hba.conf").write_text("local all all trust\n")
        if self._recovers(reach):
            return
        # Nothing was committed between the moment asked for and the end of the log: all of it is that moment.
        if _ENDED_EARLY in (self._data_dir / _LOG).read_bytes():
            settings = self._data_dir / "postgresql.auto.conf"
            lines = settings.read_text().splitlines(keepends=True)
            settings.write_text("".join(line for line in lines if not line.startswith("recovery_target_time")))
            if self._recovers(reach):
                return
        raise BackupError("PostgreSQL does not recover from the copy.", "database")

    def _recovers(self, reach: Mapping[str, Any]) -> bool:
        command = ["setpriv", "--pdeathsig", "TERM", program("postgres"), "-D", str(self._data_dir), "-c"]
        owner = _as_server(self._data_dir.parent, self._sockets)
        silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.DEVNULL)
        with (self._data_dir / _LOG).open("wb") as said:
            self._process = subprocess.Popen(
                [*command, f"config_file={self._data_dir}/viewbox.conf"],
                stderr=said, **silent, **owner,
            )  # fmt: skip
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with psycopg.connect(host=str(self._sockets), connect_timeout=5, **reach) as asked:
                    row = asked.execute("SELECT pg_is_in_recovery()").fetchone()
                if row and not row[0]:
                    return True
            except psycopg.OperationalError:
                pass
            time.sleep(0.1)
        self.stop()
        return False

    def stop(self) -> None:
        """End the server."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _as_server(*folders: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as the user that its package makes, who gets the folders."""
    if os.geteuid() != 0:
        return {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "postgres", "postgres")
        for parent in folder.parents:
            if parent.is_relative_to(settings.DATA_DIR) or parent in Path(settings.DATA_DIR).parents:
                # To be passed through, not to be listed.
                parent.chmod(parent.stat().st_mode | 0o011)
    return {"user": "postgres", "group": "postgres", "cwd": "/"}
