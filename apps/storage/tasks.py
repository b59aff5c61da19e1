"""Periodic work of the storage."""

from datetime import timedelta

from apps.jobs.services import periodic
from apps.storage import capacity, erasures, filling, keyring, replication, scrub, sweep

SCRUB_EVERY = timedelta(minutes=5)


@periodic("storage.delete-destroyed-bytes", every_seconds=300)
def delete_destroyed_bytes() -> None:
    """Delete bytes that could not be deleted when their blob was destroyed."""
    sweep.delete_destroyed_bytes()


@periodic("storage.remove-young-leftovers", every_seconds=240)
def remove_young_leftovers() -> None:
    """Remove what a crash just left behind."""
    sweep.remove_young_leftovers()


@periodic("storage.remove-leftovers", every_seconds=3600)
def remove_leftovers() -> None:
    """Remove what crashes left behind."""
    sweep.remove_leftovers()


@periodic("storage.copy", every_seconds=5)
def copy_due() -> None:
    """Bring every blob to every place."""
    replication.copy_due()


@periodic("storage.find-missing", every_seconds=3600)
def find_missing() -> None:
    """Notice places that are new."""
    replication.find_missing()


@periodic("storage.scrub", SCRUB_EVERY.total_seconds())
def scrub_due() -> None:
    """Read a part of what is stored again."""
    scrub.scrub_due(SCRUB_EVERY, seconds=60)


@periodic("storage.write-keyring", every_seconds=5)
def write_keyring() -> None:
    """Give every key its copies, and take away those of what was destroyed."""
    keyring.refresh()


@periodic("storage.tend-keyring", every_seconds=3600)
def tend_keyring() -> None:
    """Look that every place has the keyring and the erasure list."""
    keyring.tend()
    erasures.spread()


@periodic("storage.capacity", every_seconds=6 * 3600)
def watch_capacity() -> None:
    """Note how full everything is, and tell clinics ahead."""
    capacity.sample()
    filling.tell_owners()
