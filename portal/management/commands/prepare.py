"""Make an installation ready: folders, keys on the very first start, migrations; if asked a demo and the start."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from apps.clinics.models import Clinic
from portal import demo, embedded
from portal.checks import refuse_unsafe_configuration


class Command(BaseCommand):
    """`manage.py prepare [--demo] [--serve]`: safe to repeat; never makes a key where data already is."""

    help = "Make folders, keys (first start only) and tables; --demo adds a demonstration clinic to an empty one."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Offer the demonstration clinic and the start."""
        parser.add_argument("--demo", action="store_true", help="add a demonstration clinic when there is no clinic")
        parser.add_argument("--serve", action="store_true", help="then start web server, worker and scheduler")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, and print the address and, once, the demonstration's credentials."""
        embedded.make_folders(Path(settings.DATA_DIR))
        if not settings.PRODUCTION:
            self._prepare_embedded()
        refuse_unsafe_configuration()
        call_command("migrate", verbosity=0, interactive=False)
        if options["demo"] and not settings.PRODUCTION and not Clinic.objects.exists():
            self.stdout.write("First start: making a demonstration clinic ...")
            credentials = demo.create(report=self.stdout.write)
            self.stdout.write(
                f"\n  Sign in as   {credentials.email}\n  password     {credentials.password}"
                "\n  (shown this once; the first sign-in sets up the second factor with an authenticator app)\n"
            )
        self.stdout.write(f"Viewbox serves at {settings.BASE_URL}/  (Ctrl-C stops it; data in {settings.DATA_DIR})")
        if options["serve"]:
            self.stdout.flush()
            self._serve()

    def _serve(self) -> None:
        """Become the supervisor; what `.env` says is in the environment since the settings were read."""
        environment = {"PORT": "8000", "PORTAL_WORKERS": "2"} | os.environ
        environment |= {"PORTAL_DATA_DIR": str(settings.DATA_DIR), "VENV": sys.prefix}
        os.chdir(settings.BASE_DIR)
        program = f"{sys.prefix}/bin/supervisord"
        os.execve(program, [program, "-c", "portal/supervisord.conf"], environment)  # noqa: S606  # our own program

    def _prepare_embedded(self) -> None:
        data_dir = Path(settings.DATA_DIR)
        is_new = not (data_dir / "viewbox.sqlite3").exists()
        settings.SECRET_KEY = embedded.make_secret_key(data_dir)
        if not settings.MASTER_KEY and not Path(settings.MASTER_KEY_FILE).exists():
            if not is_new:
                # A new key would read nothing of what is there, and hide that the right one is missing (ENC-09).
                raise CommandError(
                    f"The master key {settings.MASTER_KEY_FILE} is missing, but there is data. Put the key back from "
                    "your backup of it; without it nothing stored here can be read."
                )
            call_command("create_master_key", settings.MASTER_KEY_FILE, verbosity=0)
        if settings.HTTPS:
            embedded.make_certificate(data_dir)
