from django.apps import AppConfig


class DeidentificationConfig(AppConfig):
    name = "apps.deidentification"

    def ready(self) -> None:
        from apps.deidentification import erasing, tasks  # noqa: F401
