"""Replace the master key while everything goes on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.audit.services import Context, record
from apps.keys.errors import KeyUnavailableError
from apps.keys.services import rotate_master_key


class Command(BaseCommand):
    """Wraps every key by the present master key."""

    help = (
        "Wrap every key by the master key that the settings name. Before it, make a new key file, set "
        "PORTAL_MASTER_KEY_FILE to it and PORTAL_MASTER_KEY_PREVIOUS_FILE to the old one, and restart; after it, "
        "remove PORTAL_MASTER_KEY_PREVIOUS_FILE and restart once more."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate, and record that it was done."""
        try:
            count = rotate_master_key()
        except KeyUnavailableError as error:
            raise CommandError(str(error)) from None
        details: dict[str, Any] = {"key_count": count}
        record("key.rotated", context=Context.system("rotate_master_key"), clinic_id=None, details=details)
        self.stdout.write(
            _(
                "%(count)d keys are wrapped by the new master key. Print new escrow sheets, keep the old ones for as "
                "long as backups of the database from before today, and take the old key off this machine."
            )
            % {"count": count}
        )
