"""The keys app."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    """The master key, the clinics' keys and sealed secrets."""

    name = "apps.keys"
