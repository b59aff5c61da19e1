from django.apps import AppConfig


class ExportsConfig(AppConfig):
    name = "apps.exports"

    def ready(self) -> None:
        """Register the jobs."""
        from apps.exports import erasing, tasks  # noqa: F401
