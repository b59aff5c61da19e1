"""Everything a clinic has, as files that need nothing of ours: plain, or sealed with a passphrase."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from getpass import getpass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from tqdm import tqdm

from apps.audit.services import Context, record
from apps.backup.errors import KitError, KitKindError
from apps.backup.kit import Written, verify_kit, write_kit
from apps.backup.kit_key import check_passphrase, is_sealed
from apps.backup.kit_places import BucketPlace, FolderPlace, KitPlace
from apps.backup.sealed_kit import verify_sealed_kit, write_sealed_kit
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.keys.errors import KeyUnavailableError
from apps.storage.services import bucket_at
from apps.studies.models import Study


class Command(BaseCommand):
    """`manage.py rescue_kit DEST [--sealed] [--clinic SLUG ...]`: started again, it goes on where it stopped."""

    help = (
        "Write all studies and documents as plain DICOM files with DICOMDIR, an index that opens in any browser, and a "
        "manifest with hashes. NOT ENCRYPTED, unless --sealed: write to an encrypted disk, and keep it in a safe. With "
        "--sealed: the same in archives that the program age opens with a passphrase, in a folder or in a bucket."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where to write, and of which clinics."""
        parser.add_argument("target", metavar="DEST", help="a folder, or with --sealed s3://bucket/folder")
        parser.add_argument("--clinic", action="append", metavar="SLUG", help="this clinic only; may be repeated")
        parser.add_argument("--sealed", action="store_true", help="encrypted (age), to be opened with a passphrase")
        parser.add_argument(
            "--passphrase-file",
            metavar="FILE",
            type=Path,
            help="the passphrase of a sealed kit, in a file (asked for at the terminal without)",
        )
        parser.add_argument(
            "--verify", action="store_true", help="only read a kit again and compare it with its manifest"
        )

    def handle(self, *args: Any, target: str, clinic: list[str] | None, verify: bool, **options: Any) -> None:
        """Write or verify; fail if anything could not be read."""
        clinics = Clinic.objects.filter(slug__in=clinic) if clinic else Clinic.objects.all()
        if clinic and (unknown := set(clinic) - {each.slug for each in clinics}):
            raise CommandError(_("There is no clinic %(slug)s.") % {"slug": min(unknown)})
        self._passphrase_file: Path | None = options["passphrase_file"]
        failed: list[str] = []
        try:
            for each in clinics:
                place = _place(target, each.slug)
                if not verify:
                    failed += self._write(each, place, is_sealed=options["sealed"])
                self.stdout.write(self._verify(each, place, given=self._given if verify else ""))
        except (KitError, KeyUnavailableError) as error:
            raise CommandError(str(error)) from None
        if failed:
            self.stderr.write("\n".join(failed))
            raise CommandError(
                _("%(count)d files could not be read; all others are in the kit.") % {"count": len(failed)}
            )

    def _write(self, clinic: Clinic, place: KitPlace, *, is_sealed: bool) -> list[str]:
        if not is_sealed and not isinstance(place, FolderPlace):
            raise CommandError(_("A bucket takes sealed kits only: add --sealed, or name a folder."))
        if not is_sealed and self._passphrase_file:
            raise CommandError(_("Only a sealed kit has a passphrase: add --sealed."))
        with clinic_scope(clinic):
            total = Study.objects.count()
        # Recorded before the first byte is out: whoever has the kit has everything.
        details: dict[str, Any] = {"study_count": total, "is_sealed": is_sealed}
        record("clinic.exported", context=Context.system("rescue_kit"), clinic_id=clinic.pk, details=details)
        studies: Iterator[Written]
        if isinstance(place, FolderPlace) and not is_sealed:
            studies = write_kit(clinic, place.folder)
        else:
            studies = write_sealed_kit(clinic, place, passphrase=self._given, ask=lambda: self._asked)
        failed: list[str] = []
        for written in tqdm(studies, total=total, desc=clinic.slug, unit=" studies", disable=None):
            failed += written.failed
        return failed

    def _verify(self, clinic: Clinic, place: KitPlace, *, given: str) -> str:
        if isinstance(place, FolderPlace) and not is_sealed(place):
            if given:
                raise KitKindError(is_sealed=False)
            count = verify_kit(place.folder)
            return _("%(clinic)s: %(count)d files are whole.") % {"clinic": clinic.slug, "count": count}
        found = verify_sealed_kit(place, given)
        counts = {"clinic": clinic.slug, "count": found.sealed_count, "plain": found.plain_count}
        if given:
            return _("%(clinic)s: %(count)d sealed files are whole, and so are the %(plain)d files in them.") % counts
        return _("%(clinic)s: %(count)d sealed files are whole.") % counts

    @cached_property
    def _given(self) -> str:
        """The passphrase of --passphrase-file, empty without."""
        if self._passphrase_file is None:
            return ""
        try:
            passphrase = self._passphrase_file.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise CommandError(_("The passphrase file cannot be read.")) from None
        if not passphrase:
            raise CommandError(_("The passphrase file is empty."))
        return passphrase

    @cached_property
    def _asked(self) -> str:
        """The passphrase of new kits, typed twice, once for all of them."""
        if not sys.stdin.isatty():
            raise CommandError(_("A sealed kit needs a passphrase: give --passphrase-file, or start at a terminal."))
        passphrase = getpass(_("Passphrase for the kit: "))
        check_passphrase(passphrase)
        if getpass(_("Once more: ")) != passphrase:
            raise CommandError(_("You typed two different passphrases."))
        return passphrase


def _place(target: str, slug: str) -> KitPlace:
    url = urlsplit(str(target))
    if url.scheme != "s3":
        return FolderPlace(Path(target) / slug)
    if not url.netloc:
        raise CommandError(_("Name the bucket: s3://bucket/folder."))
    folder = "/".join([*filter(None, url.path.split("/")), slug])
    return BucketPlace(bucket_at(url.netloc, folder, settings.KIT_S3))
