"""Everything a clinic has, as plain files that need nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from tqdm import tqdm

from apps.audit.services import Context, record
from apps.backup.errors import KitError
from apps.backup.kit import verify_kit, write_kit
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.studies.models import Study


class Command(BaseCommand):
    """`manage.py rescue_kit DEST [--clinic SLUG ...]`: started again, it goes on where it stopped."""

    help = (
        "Write all studies and documents as plain DICOM files with DICOMDIR, an index that opens in any browser, and a "
        "manifest with hashes. NOT ENCRYPTED: write to an encrypted disk, and keep it in a safe."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where to write, and of which clinics."""
        parser.add_argument("folder", metavar="DEST", type=Path)
        parser.add_argument("--clinic", action="append", metavar="SLUG", help="this clinic only; may be repeated")
        parser.add_argument(
            "--verify", action="store_true", help="only read a kit again and compare it with its manifest"
        )

    def handle(self, *args: Any, folder: Path, clinic: list[str] | None, verify: bool, **options: Any) -> None:
        """Write or verify; fail if anything could not be read."""
        clinics = Clinic.objects.filter(slug__in=clinic) if clinic else Clinic.objects.all()
        if clinic and (unknown := set(clinic) - {each.slug for each in clinics}):
            raise CommandError(_("There is no clinic %(slug)s.") % {"slug": min(unknown)})
        failed: list[str] = []
        try:
            for each in clinics:
                if not verify:
                    failed += self._write(each, folder / each.slug)
                count = verify_kit(folder / each.slug)
                self.stdout.write(_("%(clinic)s: %(count)d files are whole.") % {"clinic": each.slug, "count": count})
        except KitError as error:
            raise CommandError(str(error)) from None
        if failed:
            self.stderr.write("\n".join(failed))
            raise CommandError(
                _("%(count)d files could not be read; all others are in the kit.") % {"count": len(failed)}
            )

    def _write(self, clinic: Clinic, folder: Path) -> list[str]:
        with clinic_scope(clinic):
            total = Study.objects.count()
        # Recorded before the first byte is out: whoever has the kit has everything.
        details: dict[str, Any] = {"study_count": total}
        record("clinic.exported", context=Context.system("rescue_kit"), clinic_id=clinic.pk, details=details)
        failed: list[str] = []
        progress = tqdm(write_kit(clinic, folder), total=total, desc=clinic.slug, unit=" studies", disable=None)
        for written in progress:
            failed += written.failed
        return failed
