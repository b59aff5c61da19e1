"""The way in as Django knows it."""

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """Registers the jobs of the way in."""

    name = "apps.ingest"

    def ready(self) -> None:
        """Import the handlers, so that workers and scheduler find them."""
        from apps.ingest import erasing, recycling, tasks  # noqa: F401
