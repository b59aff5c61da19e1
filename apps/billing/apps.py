"""The billing app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate  # noqa: TID251  # the framework's hook after a migration
from django.utils.translation import gettext_lazy as _


class BillingConfig(AppConfig):
    """Puts the price lists into a new database."""

    name = "apps.billing"
    verbose_name = _("Billing")

    def ready(self) -> None:
        """Connect the framework's hook."""
        post_migrate.connect(put_price_lists, sender=self, dispatch_uid="billing.price_lists")


def put_price_lists(using: str, **kwargs: Any) -> None:
    """Create the price lists when the migrated database has no plan yet."""
    # The models exist only once the apps are loaded.
    from apps.billing.price_lists import add_missing_price_lists

    if using == "default":
        add_missing_price_lists()
