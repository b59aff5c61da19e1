"""The accounts app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """Registers the room's background work."""

    name = "apps.accounts"
    verbose_name = _("People")

    def ready(self) -> None:
        """Register the job handlers."""
        from apps.accounts import tasks  # noqa: F401
