"""Prove that everything can be restored."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from apps.backup.drilling import run_drill
from apps.backup.errors import BackupError
from apps.backup.examining import Wanted, examine
from apps.backup.models import Drill
from apps.backup.restoring import choose_place


class Command(BaseCommand):
    """`manage.py drill [--place NAME]`: what runs every night, now."""

    help = "Restore the database and a sample of studies from a storage place into an empty directory, and look at all."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the place; `--child` is how the drill calls itself."""
        parser.add_argument("--place", default="", help="this place of PORTAL_REPLICAS only; default: each of them")
        parser.add_argument("--child", metavar="FOLDER", type=Path, help="used by the drill itself")

    def handle(self, *args: Any, place: str, child: Path | None, **options: Any) -> None:
        """Run drills and say how they went; fail unless all passed."""
        if child:
            given = json.loads(sys.stdin.read())
            wanted = Wanted(**{each.name: given[each.name] for each in fields(Wanted)})
            self.stdout.write(json.dumps(examine(wanted, child)))
            return
        try:
            places = choose_place(place)
        except BackupError as error:
            raise CommandError(str(error)) from None
        drills = [run_drill(each) for each in (places if not place else places[:1])]
        for drill in drills:
            self.stdout.write(
                _("%(place)s: %(state)s, %(studies)d studies, %(instances)d images, %(seconds)d s.")
                % {
                    "place": drill.place,
                    "state": drill.get_state_display(),
                    "studies": drill.study_count,
                    "instances": drill.instance_count,
                    "seconds": drill.seconds,
                }
            )
            for failure in json.loads(drill.content)["failures"]:
                self.stderr.write(f"  {failure['code']}: {failure['message']}")
        if any(drill.state != Drill.State.PASSED for drill in drills):
            raise CommandError(_("The restore is not proven."))
