from django.apps import AppConfig


class DeidentificationConfig(AppConfig):
    name = "apps.deidentification"

    def ready(self) -> None:
        from apps.deidentification import tasks  # noqa: F401
