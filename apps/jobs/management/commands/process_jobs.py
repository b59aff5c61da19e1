"""Work off queued jobs in this process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.jobs.services import process_until_idle


class Command(BaseCommand):
    """`manage.py process_jobs --until-idle`: for scripts and tests; a running installation has workers."""

    help = "Work off everything queued in this process and return."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Require the switch, so that nobody takes this for a worker."""
        parser.add_argument("--until-idle", action="store_true", required=True, help="return when nothing is queued")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print how many runs it took."""
        self.stdout.write(f"{process_until_idle()} jobs")
