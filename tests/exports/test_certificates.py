"""The certificate of destruction: signed, honest about when and what not, and written by one command."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.access.services import import_principal
from apps.clinics.models import Clinic
from apps.exports.signing import message_of
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import open_batch, store_now
from apps.patients.models import Patient
from apps.storage.models import Blob, Erasure
from apps.storage.services import copy_due, write_keyring
from apps.studies.models import Study
from tests.faults.disks import two_disks
from tests.ingest.files import series


def test_a_patient_is_destroyed_by_one_command_with_a_certificate_ENC_06(
    in_clinic_a: Clinic, tmp_path: Path, settings: Settings
) -> None:
    settings.BACKUP_DAYS = 12
    principal = import_principal(in_clinic_a, "tests")
    with two_disks(tmp_path):
        batch = open_batch(principal, UploadBatch.Source.IMPORT, is_one_request=True)
        store_now(principal, batch, [[file] for file in series(2, PatientName="Geht^Gerda")])
        copy_due()
        write_keyring()
        patient = Patient.objects.get()
        file = tmp_path / "certificate.json"
        chosen = {"clinic": in_clinic_a.slug, "patient": patient.public_id, "certificate": file}
        call_command("erase", **chosen)

        said = json.loads(file.read_text())
        assert said["what"] == {"kind": "patient", "reference": patient.public_id}
        assert (said["destroyed"]["studies"], said["destroyed"]["objects"]) == (1, 2)
        gone_at, erased_at = (datetime.fromisoformat(said[name]) for name in ("last_key_copy_gone_at", "erased_at"))
        assert gone_at == erased_at + timedelta(days=12)
        assert said["ciphertext_kept_until"] is None
        assert any("Rescue kits" in line for line in said["not_reached"])
        assert "Gerda" not in file.read_text()
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(said["signature"]["public_key"]))
        key.verify(base64.b64decode(said["signature"]["value"]), message_of("destruction", said))
        with pytest.raises(InvalidSignature):
            key.verify(
                base64.b64decode(said["signature"]["value"]), message_of("destruction", said | {"erased_at": "2020"})
            )

        assert not Patient.objects.exists()
        assert not Study.objects.exists()
        assert not Blob.objects.filter(wrapped_key__isnull=False).exists()
        assert set(Upload.objects.values_list("name", flat=True)) <= {""}
        # Nothing is destroyed twice, and a file that is there is never replaced.
        with pytest.raises(CommandError):
            call_command("erase", **chosen)
        again = tmp_path / "again.json"
        call_command("erase", clinic=in_clinic_a.slug, erasure=Erasure.objects.get().public_id, certificate=again)
        assert json.loads(again.read_text())["erasure"] == said["erasure"]
