"""Periodic work of the storage."""

from apps.jobs.services import periodic
from apps.storage import sweep


@periodic("storage.delete-destroyed-bytes", every_seconds=300)
def delete_destroyed_bytes() -> None:
    """Delete bytes that could not be deleted when their blob was destroyed."""
    sweep.delete_destroyed_bytes()


@periodic("storage.remove-leftovers", every_seconds=3600)
def remove_leftovers() -> None:
    """Remove what crashes left behind."""
    sweep.remove_leftovers()
