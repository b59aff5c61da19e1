from django.apps import AppConfig


class LinksConfig(AppConfig):
    name = "apps.links"

    def ready(self) -> None:
        """Register the periodic work."""
        from apps.links import tasks  # noqa: F401
