"""manage.py rebuild_index: the database remade from the blobs and the keyring."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.accounts.roles import Role
from apps.accounts.services import invite
from apps.audit.services import Context, record
from apps.clinics.scoping import clinic_scope
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.services import hold_leftovers
from apps.studies.rebuilding import Rebuilt
from apps.studies.services import rebuild


class Command(BaseCommand):
    """`manage.py rebuild_index [--owner EMAIL]`."""

    help = (
        "Remake the database from the blobs: all studies, patients and documents that the places hold and the database "
        "does not know. Needs the master key; never brings back what was destroyed. Run prepare before it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take who is to be let in again."""
        parser.add_argument("--owner", help="e-mail address: invited as owner of every clinic that comes back")

    def handle(self, *args: Any, owner: str | None, **options: Any) -> None:
        """Rebuild, show how far it is, and tell what did not come back."""
        # What has no row may be what this brings back.
        hold_leftovers()
        result = Rebuilt()
        try:
            for so_far in rebuild():
                result = so_far
                self.stderr.write(_("%(count)d instances") % {"count": result.instance_count}, ending="\r")
        except (KeyUnavailableError, StorageError, ValueError) as error:
            raise CommandError(str(error)) from error
        details: dict[str, Any] = {
            "instance_count": result.instance_count,
            "document_count": result.document_count,
            "missing_count": len(result.lost) + len(result.unreadable),
            "erased_count": result.erased_count,
        }
        record("installation.rebuilt", context=Context.system("rebuild_index"), clinic_id=None, details=details)
        self.stdout.write(_("%(instance_count)d instances and %(document_count)d documents came back.") % details)
        if result.erased_count:
            self.stdout.write(_("%(erased_count)d blobs were destroyed on purpose and stay so.") % details)
        for each in (*result.lost, *result.unreadable):
            self.stdout.write(self.style.ERROR(_("%(name)s is missing or damaged in every place.") % {"name": each}))
        for clinic in result.clinics:
            if owner:
                with clinic_scope(clinic):
                    url = invite(clinic, owner, Role.OWNER, context=Context.system("rebuild_index"))
                self.stdout.write(f"{clinic.slug}: {url}")
