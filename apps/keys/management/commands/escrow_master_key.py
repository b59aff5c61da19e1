"""Print the master key as sheets of words for several safes."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import segno
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.keys.errors import KeyUnavailableError
from apps.keys.escrow import Share, split, spoken_fingerprint
from apps.keys.services import load_master_key, write_once


class Command(BaseCommand):
    """Writes one page a share, to be printed and then deleted."""

    help = "Write the master key as printable sheets of words, some of which are enough to get it back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take where to write, and how many sheets there are to be."""
        parser.add_argument("path", type=Path, help="the HTML file to write; it is never replaced")
        parser.add_argument("--shares", type=int, default=3, help="how many sheets (default 3)")
        parser.add_argument("--threshold", type=int, default=2, help="how many of them are needed (default 2)")

    def handle(self, *args: Any, path: Path, shares: int, threshold: int, **options: Any) -> None:
        """Write the sheets; refuse without a key, or where something is already."""
        try:
            master = load_master_key()
            sheets = split(master, threshold=threshold, count=shares)
        except (KeyUnavailableError, ValueError) as error:
            raise CommandError(str(error)) from None
        page = render_to_string(
            "keys/escrow.html",
            {
                "sheets": [(sheet, self._picture(sheet)) for sheet in sheets],
                "count": shares,
                "threshold": threshold,
                "fingerprint": spoken_fingerprint(master),
                "installation": settings.BASE_URL,
                "today": timezone.localdate(),
            },
        )
        try:
            write_once(path, page.encode())
        except OSError as error:
            raise CommandError(
                _("%(path)s cannot be written: %(reason)s.") % {"path": path, "reason": error.strerror}
            ) from None
        self.stdout.write(
            _(
                "%(path)s holds %(count)d sheets; any %(threshold)d of them are the master key. Print it where nobody "
                "looks, keep the sheets in different places, and delete the file."
            )
            % {"path": path, "count": shares, "threshold": threshold}
        )

    def _picture(self, sheet: Share) -> str:
        code = segno.make(" ".join(sheet.words), error="m")
        return code.svg_data_uri(scale=3, border=2)
