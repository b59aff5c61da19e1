"""Give a clinic a new key, and its blobs too if wanted."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.audit.services import Context, record
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.rotation import renew_clinic_key, renew_data_keys


class Command(BaseCommand):
    """Wraps the clinic's data keys by a new key; with --data-keys, encrypts all it has anew."""

    help = "Give a clinic a new key while everything goes on. Broken off, start it again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the clinic, and how deep to go."""
        parser.add_argument("clinic", help="the clinic's short name")
        parser.add_argument(
            "--data-keys", action="store_true", help="encrypt every blob anew as well (reads all of it)"
        )

    def handle(self, *args: Any, clinic: str, data_keys: bool, **options: Any) -> None:
        """Rotate, tell how far it is, and record it."""
        owner = Clinic.objects.filter(slug=clinic).first()
        if owner is None:
            raise CommandError(_("There is no clinic of this name."))
        count = 0
        try:
            with clinic_scope(owner):
                for count in renew_data_keys(owner) if data_keys else renew_clinic_key(owner):
                    self.stdout.write(_("%(count)d done") % {"count": count})
                if data_keys:
                    for _done in renew_clinic_key(owner):
                        pass
        except (KeyUnavailableError, StorageError) as error:
            raise CommandError(str(error)) from None
        details: dict[str, Any] = {"key_count": count, "level": "data-keys" if data_keys else "clinic-key"}
        record("key.rotated", context=Context.system("rotate_clinic_key"), clinic_id=owner.pk, details=details)
        self.stdout.write(self.style.SUCCESS(_("%(clinic)s has a new key.") % {"clinic": owner.slug}))
