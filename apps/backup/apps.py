"""The backup app."""

from django.apps import AppConfig


class BackupConfig(AppConfig):
    """What survives us: kits of plain files."""

    name = "apps.backup"
