"""Get the master key back from its sheets."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.keys.errors import KeyUnavailableError
from apps.keys.escrow import join, spoken_fingerprint
from apps.keys.services import create_master_key_file


class Command(BaseCommand):
    """Reads the words of the sheets, one sheet a line, and writes the key file."""

    help = "Write the master key file from the words of its escrow sheets (standard input, one sheet a line)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file's path."""
        parser.add_argument(
            "path", type=Path, nargs="?", help="the key file to write, never replaced (default: PORTAL_MASTER_KEY_FILE)"
        )

    def handle(self, *args: Any, path: Path | None, **options: Any) -> None:
        """Write the key; refuse words that are none, too few or of different keys."""
        if path is None and not settings.MASTER_KEY_FILE:
            raise CommandError(_("Say where the key is to be written: PORTAL_MASTER_KEY_FILE names no file."))
        path = path or Path(settings.MASTER_KEY_FILE)
        if sys.stdin.isatty():
            self.stderr.write(_("Type the words of one sheet, then Enter; after the last sheet an empty line."))
        lines: list[str] = []
        for line in sys.stdin:
            if not line.strip() and lines:
                break
            lines.append(line)
        try:
            key = join(lines)
            create_master_key_file(path, key)
        except KeyUnavailableError as error:
            raise CommandError(str(error)) from None
        except FileExistsError:
            raise CommandError(_("%(path)s is there already: nothing was changed.") % {"path": path}) from None
        except OSError as error:
            raise CommandError(
                _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror}
            ) from None
        self.stdout.write(
            _("%(path)s holds the master key again. Its fingerprint is %(fingerprint)s: compare it with the sheets.")
            % {"path": path, "fingerprint": spoken_fingerprint(key)}
        )
