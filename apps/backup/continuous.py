"""The program that copies the database away as long as the portal runs: `manage.py back_up`."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from apps.backup import litestream, postgres
from apps.backup.errors import BackupError
from apps.backup.models import DatabaseCopy
from apps.backup.shipping import Shipment, Shipper
from apps.keys.services import backup_key

log = logging.getLogger(__name__)

FOLDER: Final = "backup"
PAUSE_SECONDS: Final = 0.5
NOTE_SECONDS: Final = 30.0
FIRST_NOTE_SECONDS: Final = 5.0
TIDY_SECONDS: Final = 60 * 60.0


def folder() -> Path:
    """Return the folder on this machine in which the database's own tool writes."""
    return Path(settings.DATA_DIR) / FOLDER


class Source(Protocol):
    """What writes the files that are shipped."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start the database's own tool; raises BackupError."""

    def collect(self) -> None:
        """Bring what it wrote since into the folder that is shipped."""


class LitestreamSource:
    """SQLite: Litestream writes into the folder itself."""

    def __init__(self, stream: Path) -> None:
        self._stream = stream

    def start(self) -> subprocess.Popen[bytes]:
        """See Source."""
        database = Path(str(connection.settings_dict["NAME"]))
        return litestream.start(database, self._stream, folder() / "litestream.json")

    def collect(self) -> None:
        """Nothing is to be done."""


class PostgresSource:
    """PostgreSQL: the log by `pg_receivewal`, a base copy each day beside it."""

    def __init__(self, stream: Path) -> None:
        self._receiver = postgres.Receiver(folder() / "received", stream)
        self._base: Future[bool] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="base")

    def start(self) -> subprocess.Popen[bytes]:
        """See Source."""
        return self._receiver.start()

    def collect(self) -> None:
        """See Source. A base copy may take hours; what it fails with is raised here (BackupError)."""
        self._receiver.collect()
        if self._base is None or self._base.done():
            if self._base is not None:
                self._base.result()
            self._base = self._pool.submit(self._receiver.take_base_if_due)


def back_up(should_stop: threading.Event, *, on_shipped: Callable[[Shipper], None] | None = None) -> None:
    """Copy the database away until told to stop; raises BackupError when the database's own tool ends."""
    folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = folder() / "stream"
    source: Source = LitestreamSource(stream) if connection.vendor == "sqlite" else PostgresSource(stream)
    tool = source.start()
    shipper = Shipper(stream, backup_key(), list(settings.REPLICAS))
    tidied_at = float("-inf")
    # The first files are on their way when the first note is due.
    noted_at = time.monotonic() - NOTE_SECONDS + FIRST_NOTE_SECONDS
    try:
        while not should_stop.wait(PAUSE_SECONDS):
            if tool.poll() is not None:
                raise BackupError("The program that reads the database's log ended.")
            source.collect()
            shipper.ship()
            if on_shipped:
                on_shipped(shipper)
            now = time.monotonic()
            if now - noted_at > NOTE_SECONDS and _note(shipper.shipments):
                noted_at = now
                # The master key may have been replaced: the next file goes along with the new wrapping.
                shipper.key = backup_key()
            if now - tidied_at > TIDY_SECONDS:
                shipper.tidy()
                tidied_at = now
    finally:
        tool.send_signal(signal.SIGTERM)
        tool.wait(20)
        # What the tool wrote while it ended.
        source.collect()
        shipper.ship()


def _note(shipments: list[Shipment]) -> bool:
    """Write down how far each place is; whether the database took it."""
    close_old_connections()
    try:
        for shipment in shipments:
            DatabaseCopy.objects.update_or_create(
                place=shipment.shelf.place_name,
                defaults={
                    "shipped_until": shipment.shipped_until,
                    "file_count": shipment.file_count,
                    "code": shipment.code,
                    "seen_at": timezone.now(),
                },
            )
    except DatabaseError as error:
        log.warning("the state of the copies could not be noted: %s", type(error).__name__)
        return False
    return True
