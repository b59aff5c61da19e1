"""The backup app."""

from django.apps import AppConfig


class BackupConfig(AppConfig):
    """What survives us: copies of the database, drills that prove them, kits of plain files."""

    name = "apps.backup"

    def ready(self) -> None:
        """Register the drill and its watch."""
        from apps.backup import tasks  # noqa: F401
