"""Copy the database away, continuously."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.backup.continuous import back_up
from apps.backup.errors import BackupError
from apps.keys.errors import KeyUnavailableError

PAUSE_SECONDS = 10.0


class Command(BaseCommand):
    """`manage.py back_up`: runs beside the portal (`make run` starts it) until it is told to end."""

    help = "Copy the database, encrypted, to every place that PORTAL_REPLICAS names, within seconds of each change."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; without a second place there is nothing to do."""
        if not settings.REPLICAS:
            self.stdout.write(_("PORTAL_REPLICAS names no second place: the database is not copied."))
            return
        should_stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: should_stop.set())
        try:
            back_up(should_stop)
        except (BackupError, KeyUnavailableError) as error:
            # Whoever starts this again at once (supervisor) would find the same.
            should_stop.wait(PAUSE_SECONDS)
            raise CommandError(str(error)) from None
