"""Restore from a storage place."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware
from django.utils.translation import gettext as _

from apps.backup.errors import BackupError
from apps.backup.everything import restore_everything
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.services import release_leftovers


class Command(BaseCommand):
    """`manage.py restore [--at TIME] [--place NAME]`: everything, on a machine where nothing is."""

    help = "Restore the database from a storage place and the master key; the images follow by themselves."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take from where and as of when."""
        parser.add_argument("--at", metavar="TIME", help="as of this time (2026-03-01T12:00:00Z); default: the newest")
        parser.add_argument(
            "--place", default="", help="from this place of PORTAL_REPLICAS; default: the first that can"
        )

        parser.add_argument(
            "--accept", action="store_true", help="after a restore: everything needed is there, tidy up as always"
        )

    def handle(self, *args: Any, at: str | None, place: str, accept: bool, **options: Any) -> None:
        """Restore, and say from where and until when."""
        if accept:
            release_leftovers()
            self.stdout.write(_("What has no row in the database is removed again, as always."))
            return
        when = parse_datetime(at) if at else None
        if at and when is None:
            raise CommandError(_("%(time)s is no time: write it like 2026-03-01T12:00:00Z.") % {"time": at})
        if when is not None and is_naive(when):
            when = make_aware(when)
        try:
            outcome = restore_everything(at=when, place=place)
        except (BackupError, KeyUnavailableError, StorageError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            _("The database is back as of %(until)s, from %(place)s.")
            % {"until": outcome.restored.until.strftime("%Y-%m-%d %H:%M:%S UTC"), "place": outcome.restored.place}
        )
        if outcome.missing_count:
            self.stdout.write(
                _(
                    "The first storage place lacks %(count)d of %(total)d images and documents: they are read from the "
                    "copies at once, and copied back while the portal runs."
                )
                % {"count": outcome.missing_count, "total": outcome.blob_count}
            )
