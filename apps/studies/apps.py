from django.apps import AppConfig


class StudiesConfig(AppConfig):
    name = "apps.studies"

    def ready(self) -> None:
        """Register the handlers of this room's jobs."""
        from apps.studies import facts, tasks  # noqa: F401 - registers on import
