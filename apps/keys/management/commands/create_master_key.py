"""Make the master key of a new installation."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.keys.services import create_master_key_file


class Command(BaseCommand):
    """Writes a new key file, and never over an old one."""

    help = "Write a new master key to a file (mode 0400). Refuses to replace anything."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file's path."""
        parser.add_argument("path", nargs="?", type=Path, help="default: PORTAL_MASTER_KEY_FILE")

    def handle(self, *args: Any, path: Path | None = None, **options: Any) -> None:
        """Write the key; fail if there is a file, or no word where to."""
        if path is None and settings.MASTER_KEY_FILE:
            path = Path(settings.MASTER_KEY_FILE)
        if path is None:
            raise CommandError(_("Say where to: “manage.py create_master_key PATH”, or set PORTAL_MASTER_KEY_FILE."))
        try:
            create_master_key_file(path)
        except FileExistsError:
            raise CommandError(
                _("%(path)s is there already. It opens the stored data: nothing was changed.") % {"path": path}
            ) from None
        except OSError as error:
            raise CommandError(
                _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror}
            ) from None
        if not options["verbosity"]:
            return
        self.stderr.write(
            _("Wrote the master key to %(path)s. Keep a copy apart from the data and its backups.") % {"path": path}
        )
