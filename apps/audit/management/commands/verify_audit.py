"""Verify the audit trail: `manage.py verify_audit [--clinic SLUG] [--json]`."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from apps.audit import triggers
from apps.audit.services import verify_trail
from apps.clinics.models import Clinic


class Command(BaseCommand):
    """Exit code 0 when every seal agrees with its events, 1 otherwise."""

    help = "Recomputes every seal of the audit trail and names the first row that was changed."
    # The check would refuse to start exactly when this command is needed most.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--clinic", metavar="SLUG", help="only this clinic's chain")
        parser.add_argument("--max-unsealed-minutes", type=int, default=5, metavar="N")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify and report; raises CommandError (exit code 1) when something does not agree."""
        slugs = dict(Clinic.objects.values_list("pk", "slug"))
        clinic_ids = None
        if options["clinic"]:
            clinic_ids = [pk for pk, slug in slugs.items() if slug == options["clinic"]]
            if not clinic_ids:
                raise CommandError(f"There is no clinic {options['clinic']!r}.")
        started = time.monotonic()
        reports = list(verify_trail(clinic_ids, max_unsealed_minutes=options["max_unsealed_minutes"]))
        seconds = time.monotonic() - started
        disarmed = triggers.missing(connection)
        is_intact = not disarmed and all(report.problem is None for report in reports)
        chains = [
            asdict(report)
            | {"clinic": None if report.clinic_id is None else slugs.get(report.clinic_id, str(report.clinic_id))}
            for report in reports
        ]
        if options["json"]:
            result = {
                "is_intact": is_intact,
                "missing_triggers": disarmed,
                "chains": chains,
                "seconds": round(seconds, 3),
            }
            self.stdout.write(json.dumps(result))
        else:
            for chain in chains:
                name = chain["clinic"] or "(platform)"
                state = chain["problem"]["message"] if chain["problem"] else "intact"
                self.stdout.write(
                    f"{name}: {chain['event_count']} events in {chain['seal_count']} seals, "
                    f"{chain['unsealed_count']} not sealed yet: {state}"
                )
            if disarmed:
                self.stdout.write(f"Triggers missing or disabled: {', '.join(disarmed)}")
        if not is_intact:
            raise CommandError("The audit trail is not intact.", returncode=1)
