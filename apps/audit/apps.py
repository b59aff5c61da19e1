"""The audit app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from django.db.models.signals import post_migrate  # noqa: TID251  # the framework's hook after a migration
from django.utils.translation import gettext_lazy as _

from apps.audit import triggers
from apps.audit.checks import check_triggers


class AuditConfig(AppConfig):
    """Arms the triggers after every migrate, and has them looked for by the system checks."""

    name = "apps.audit"
    verbose_name = _("Audit")

    def ready(self) -> None:
        """Connect the framework's hooks."""
        post_migrate.connect(arm_triggers, sender=self, dispatch_uid="audit.triggers")
        checks.register(check_triggers, checks.Tags.database)


def arm_triggers(using: str, **kwargs: Any) -> None:
    """Create the triggers on the database that was migrated (or emptied by a test)."""
    triggers.install(connections[using])
