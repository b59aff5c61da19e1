"""Two disks for one process: the first place and a second one that holds a copy of everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.test import override_settings

from apps.storage import copies
from apps.storage.disk_place import DiskPlace
from apps.storage.places import PRIMARY

SECOND = "replica-second"


@contextmanager
def two_disks(folder: Path) -> Iterator[tuple[DiskPlace, DiskPlace]]:
    """Let the storage keep everything in two folders below this one, whatever the stack keeps it in otherwise."""
    disks = DiskPlace(folder / "first"), DiskPlace(folder / "second")
    backend = "django.core.files.storage.FileSystemStorage"
    storages = {
        alias: {"BACKEND": backend, "OPTIONS": {"location": str(disk.root)}}
        for alias, disk in zip((PRIMARY, SECOND), disks, strict=True)
    }
    with override_settings(
        STORAGES=settings.STORAGES | storages, REPLICAS={SECOND: "PORTAL_REPLICA_SECOND"}, REPLICA_LOCK_DAYS={}
    ):
        copies.forget_trouble()
        yield disks
    copies.forget_trouble()
