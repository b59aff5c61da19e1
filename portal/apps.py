"""The project's own app: its commands and checks, and the admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class PortalConfig(AppConfig):
    """Registers the system checks."""

    name = "portal"

    def ready(self) -> None:
        """Load the checks and the periodic tasks once the apps are there."""
        from portal import checks, tasks  # noqa: F401


class PortalAdminConfig(AdminConfig):
    """Django admin behind the one sign-in."""

    default_site = "portal.admin.PortalAdminSite"
