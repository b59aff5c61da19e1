from django.apps import AppConfig


class NoticesConfig(AppConfig):
    name = "apps.notices"

    def ready(self) -> None:
        """Register the mail handler."""
        from apps.notices import tasks  # noqa: F401
