"""What the links room does on its own."""

from __future__ import annotations

from apps.jobs.services import periodic
from apps.links import services


@periodic("links.delete_stale", every_seconds=3600)
def delete_stale() -> None:
    """Delete sessions, attempts and codes that no longer mean anything."""
    services.delete_stale()


@periodic("links.remind", every_seconds=900)
def remind() -> None:
    """Remind people of links that end within a day."""
    services.remind()
