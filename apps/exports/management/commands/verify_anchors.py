"""Compare anchors kept elsewhere with the trail: `manage.py verify_anchors FILE [--key FINGERPRINT]`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.exports.anchors import AnchorError, verify_anchors


class Command(BaseCommand):
    """Exit code 0 when every anchored seal is there as it was, 1 otherwise."""

    help = "Compares anchors of the audit trail with the database: finds seals that were cut off, and older copies."
    # As verify_audit: needed most when a check would refuse to start.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE", help="anchors, or a syslog file with them, a line each")
        parser.add_argument("--key", action="append", metavar="FINGERPRINT", help="a key that counts; else our own")
        parser.add_argument("--json", action="store_true", help="one JSON object on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare and report; raises CommandError (exit code 1) when something does not agree."""
        trusted = frozenset(_grouped(key) for key in options["key"] or ())
        try:
            with options["file"].open("rb") as lines:
                count, findings = verify_anchors(lines, trusted or None)
        except OSError as error:
            raise CommandError(f"The anchors cannot be read: {error.strerror}") from error
        except AnchorError as error:
            raise CommandError(f"A line of the file is {error}.") from error
        if options["json"]:
            self.stdout.write(json.dumps({"anchors": count, "findings": [asdict(one) for one in findings]}))
        else:
            self.stdout.write(f"{count} anchors compared.")
            for one in findings:
                self.stdout.write(f"Chain {one.chain}: {one.message}")
        if findings:
            raise CommandError("The audit trail is not what was anchored.", returncode=1)


def _grouped(key: str) -> str:
    digits = key.replace(" ", "").lower()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
