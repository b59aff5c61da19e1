"""Fill a storage place anew from the others."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.audit.services import Context, record
from apps.storage.services import copy_due, places_report, rebuild

SECONDS_A_TURN = 5.0


class Command(BaseCommand):
    """Marks every copy of the place as lost, and shows how it comes back."""

    help = (
        "Fill a storage place anew from the others, for example after its disk was replaced. Nothing there is deleted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the place's name."""
        parser.add_argument("place", help="as the health page shows it: blobs, or replica-NAME")

    def handle(self, *args: Any, place: str, **options: Any) -> None:
        """Mark, copy, and tell; stopping it leaves the rest to the workers."""
        if place not in {each["name"] for each in places_report()}:
            raise CommandError(_("There is no place of this name: see PORTAL_REPLICAS."))
        details: dict[str, Any] = {"place": place, "blob_count": rebuild(place)}
        record("storage.rebuilt", context=Context.system("rebuild_place"), clinic_id=None, details=details)
        self.stdout.write(_("%(blob_count)d blobs are to be copied to %(place)s.") % details)
        while remaining := self._damaged(place):
            if not copy_due(SECONDS_A_TURN):
                time.sleep(1)
            left = self._damaged(place)
            if left == remaining and not self._is_answering(place):
                raise CommandError(_("%(place)s does not answer; the workers go on when it does.") % details)
            self.stdout.write(_("%(left)d left") % {"left": left})
        self.stdout.write(self.style.SUCCESS(_("%(place)s is whole again.") % details))

    def _damaged(self, place: str) -> Any:
        return next(each["damaged"] for each in places_report() if each["name"] == place)

    def _is_answering(self, place: str) -> Any:
        return next(each["is_answering"] for each in places_report() if each["name"] == place)
