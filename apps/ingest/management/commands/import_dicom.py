"""Import folders, files and ZIP archives of this machine into a clinic."""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.access.services import import_principal
from apps.audit.errors import AuditUnavailableError
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest import importing, services
from apps.ingest.models import UploadBatch
from apps.ingest.pipeline import Finding
from apps.ingest.quarantine import Arrival
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError


class Command(BaseCommand):
    """`manage.py import_dicom --clinic SLUG PATH... [--json]`."""

    help = "Import folders, files and ZIP archives into a clinic; exits 0 when every file got an outcome."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--clinic", required=True, metavar="SLUG", help="the clinic's short name")
        parser.add_argument("--json", action="store_true", help="print one JSON object a line for each file")
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Walk the paths, take every file, and say what became of it."""
        missing = [path for path in options["paths"] if not path.exists()]
        if missing:
            raise CommandError(f"There is no such file or folder: {missing[0]}")
        try:
            clinic = Clinic.objects.get(slug=options["clinic"])
        except Clinic.DoesNotExist:
            raise CommandError(f"There is no clinic {options['clinic']!r}.") from None
        with clinic_scope(clinic):
            try:
                outcomes = self._import(clinic, options["paths"], is_json=options["json"])
            except (StorageError, KeyUnavailableError, AuditUnavailableError) as error:
                raise CommandError(f"The import stopped: {error} What was reported so far is safe.") from error
        if not options["json"]:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
            self.stdout.write(f"{outcomes.total()} files: {counts or 'none'}")

    def _import(self, clinic: Clinic, paths: list[Path], *, is_json: bool) -> Counter[str]:
        principal = import_principal(clinic, "import_dicom")
        batch = services.open_batch(principal, UploadBatch.Source.IMPORT)
        # In the order in which they are taken, which is the order in which their findings come back.
        waiting: deque[str] = deque()

        def arrivals() -> Any:
            for source in importing.sources(paths):
                waiting.append(source.path)
                yield Arrival(source.name, source.chunks)

        outcomes: Counter[str] = Counter()
        total = importing.count_files(paths)
        with tqdm(total=total, unit=" files", file=sys.stderr, disable=None, mininterval=0.5) as bar:
            for finding in services.store_arrivals(principal, batch, arrivals()):
                path = waiting.popleft()
                outcomes[finding.upload.state] += 1
                bar.update()
                self._report(path, finding, is_json=is_json)
        services.close_batch(batch)
        return outcomes

    def _report(self, path: str, finding: Finding, *, is_json: bool) -> None:
        upload = finding.upload
        if is_json:
            line = {
                "path": path,
                "outcome": upload.state,
                "code": upload.code,
                "message": upload.message,
                "sop_instance_uid": upload.sop_instance_uid,
            }
            self.stdout.write(json.dumps(line))
        elif upload.state not in ("stored", "duplicate"):
            tqdm.write(f"{upload.state}: {path}: {upload.message}", file=sys.stderr)
