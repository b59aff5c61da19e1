"""The storage app."""

from django.apps import AppConfig


class StorageConfig(AppConfig):
    """Encrypted blobs and the places they lie in."""

    name = "apps.storage"

    def ready(self) -> None:
        """Register the periodic work."""
        from apps.storage import tasks  # noqa: F401
