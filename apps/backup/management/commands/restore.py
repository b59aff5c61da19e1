"""Restore everything, or a study, a patient or a clinic beside what is there."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware
from django.utils.translation import gettext as _

from apps.backup.beside import restore_beside
from apps.backup.errors import BackupError
from apps.backup.everything import Outcome, finish, restore_cluster, restore_everything
from apps.backup.older import Selection, read_out
from apps.backup.restoring import choose_place
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.services import release_leftovers


class Command(BaseCommand):
    """`manage.py restore [--at TIME]`: everything, where nothing is; with `--clinic`, into the running portal."""

    help = (
        "Restore the database from a storage place and the master key; the images follow by themselves. With --clinic: "
        "bring a study, a patient or a clinic as of a time into the running portal; nothing there is replaced."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take from where and as of when."""
        parser.add_argument("--at", metavar="TIME", help="as of this time (2026-03-01T12:00:00Z); default: the newest")
        parser.add_argument(
            "--place", default="", help="from this place of PORTAL_REPLICAS; default: the first that can"
        )
        parser.add_argument("--clinic", default="", metavar="SLUG", help="into the running portal: this clinic")
        parser.add_argument("--study", default="", metavar="ID", help="with --clinic: this study (public id or UID)")
        parser.add_argument("--patient", default="", metavar="ID", help="with --clinic: this patient (public id)")
        parser.add_argument(
            "--pgdata",
            metavar="DIR",
            type=Path,
            help="PostgreSQL: make this data directory, to be started on",
        )
        parser.add_argument("--finish", action="store_true", help="PostgreSQL: once the server runs on it")
        parser.add_argument("--child", metavar="FOLDER", type=Path, help="used by the command itself")
        parser.add_argument(
            "--accept", action="store_true", help="after a restore: everything needed is there, tidy up as always"
        )

    def handle(self, *args: Any, at: str | None, place: str, accept: bool, **options: Any) -> None:
        """Restore, and say from where and until when."""
        if options["child"]:
            selection = Selection(**json.loads(sys.stdin.buffer.read()))
            read_out(selection, options["child"], sys.stdout.buffer)
            return
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
            if options["clinic"]:
                self._restore_beside(options["clinic"], options["study"], options["patient"], place, when)
            elif options["study"] or options["patient"]:
                raise CommandError(_("Say of which clinic (--clinic)."))
            elif options["finish"]:
                self._report(finish())
            elif options["pgdata"]:
                self._restore_cluster(options["pgdata"], place, when)
            else:
                self._report(restore_everything(at=when, place=place))
        except (BackupError, KeyUnavailableError, StorageError) as error:
            raise CommandError(str(error)) from None

    def _restore_cluster(self, target: Path, place: str, when: datetime | None) -> None:
        restored = restore_cluster(target, at=when, place=place)
        self.stdout.write(
            _("%(folder)s is ready as of %(until)s. Start PostgreSQL on it, then run “manage.py restore --finish”.")
            % {"folder": target, "until": restored.until.strftime("%Y-%m-%d %H:%M:%S UTC")}
        )

    def _report(self, outcome: Outcome) -> None:
        self.stdout.write(
            _("The database is back as of %(until)s, from %(place)s.")
            % {"until": outcome.until.strftime("%Y-%m-%d %H:%M:%S UTC"), "place": outcome.place}
        )
        if outcome.missing_count:
            self.stdout.write(
                _(
                    "The first storage place lacks %(count)d of %(total)d images and documents: they are read from the "
                    "copies at once, and copied back while the portal runs."
                )
                % {"count": outcome.missing_count, "total": outcome.blob_count}
            )

    def _restore_beside(self, clinic: str, study: str, patient: str, place: str, when: datetime | None) -> None:
        if when is None:
            raise CommandError(_("Say as of when (--at)."))
        brought = restore_beside(Selection(choose_place(place)[0], when.isoformat(), clinic, study, patient))
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(brought.outcomes.items()))
        self.stdout.write(
            _("%(studies)d studies as of %(until)s: %(counts)s; %(documents)d documents taken.")
            % {
                "studies": brought.study_count,
                "until": brought.until,
                "counts": counts or _("no images"),
                "documents": brought.document_count,
            }
        )
        if brought.failures:
            self.stderr.write("\n".join(brought.failures))
            raise CommandError(
                _("%(count)d files could not be read; all others are back.") % {"count": len(brought.failures)}
            )
