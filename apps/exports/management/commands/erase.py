"""manage.py erase: a study, a patient or a whole clinic destroyed for good, with the certificate."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from apps.access.services import Principal
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.certificates import certificate_of
from apps.keys.errors import KeyUnavailableError
from apps.patients.models import Patient
from apps.storage.errors import StorageError
from apps.storage.models import Erasure
from apps.studies.models import Study
from apps.studies.services import erase_clinic, erase_patient, erase_studies


class Command(BaseCommand):
    """`manage.py erase --clinic SLUG (--patient ID | --study ID | --everything) --certificate FILE`."""

    help = (
        "Destroy the keys of a study, a patient or a whole clinic, in every copy, and write a signed certificate. The "
        "ids are those in the addresses of their pages. There is no way back."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whose data, and where the certificate goes."""
        parser.add_argument("--clinic", required=True, help="short name of the clinic")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--patient", help="id of the patient, as in the address of the page")
        which.add_argument("--study", help="id of the study, as in the address of the page")
        which.add_argument("--everything", action="store_true", help="all that the clinic has, with the clinic's keys")
        which.add_argument("--erasure", help="id of an earlier erasure: only its certificate is written again")
        parser.add_argument("--certificate", type=Path, required=True, help="a new file for the certificate (JSON)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Destroy, and write the certificate."""
        file: Path = options["certificate"]
        if file.exists():
            raise CommandError(_("%(file)s is there already; nothing was destroyed.") % {"file": file})
        clinic = Clinic.objects.filter(slug=options["clinic"]).first()
        if clinic is None:
            raise CommandError(_("There is no clinic of this name."))
        try:
            with clinic_scope(clinic):
                erasure = self._erase(clinic, options)
                certificate = certificate_of(erasure, clinic)
        except (StorageError, KeyUnavailableError) as error:
            raise CommandError(str(error)) from error
        file.write_text(json.dumps(certificate, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        details = {"count": erasure.blob_count, "at": certificate["last_key_copy_gone_at"], "id": erasure.public_id}
        self.stdout.write(
            _("%(count)d objects destroyed (erasure %(id)s). The last copy of their keys is gone on %(at)s.") % details
        )

    def _erase(self, clinic: Clinic, options: dict[str, Any]) -> Erasure:
        context = Context.system("erase")
        principal = Principal("system", clinic, frozenset(), context)
        if options["erasure"]:
            found = Erasure.objects.filter(public_id=options["erasure"]).first()
            if found is None:
                raise CommandError(_("There is no such erasure."))
            return found
        if options["everything"]:
            return erase_clinic(clinic, context=context)
        if options["patient"]:
            patient = Patient.objects.filter(public_id=options["patient"]).first()
            if patient is None:
                raise CommandError(_("There is no such patient."))
            return erase_patient(principal, patient.current)
        study = Study.objects.filter(public_id=options["study"]).first()
        if study is None:
            raise CommandError(_("There is no such study."))
        return erase_studies(principal, [study], kind=Erasure.Kind.STUDY, reference=study.public_id)
