"""What a clinic chose, and the key of its pseudonyms."""

from __future__ import annotations

import json
import secrets
from typing import Final

from django.db import transaction

from apps.access.services import Principal
from apps.audit.services import record
from apps.clinics.models import Clinic
from apps.deidentification.models import Identity, Policy, Preset
from apps.dicom.deidentify import Mapper
from apps.dicom.parse import Header
from apps.keys.services import open_secret, seal_secret

KEY_BYTES: Final = 32
_PURPOSE: Final = "de-identification key, clinic {}"
_IDENTITY: Final = "identity behind a pseudonym, clinic {}"


def policy_of(clinic: Clinic) -> Policy:
    """Return the clinic's choices; the first time its key is made, which never changes after."""
    found = Policy.objects.filter(clinic=clinic).first()
    if found is not None:
        return found
    key = seal_secret(_PURPOSE.format(clinic.pk), secrets.token_bytes(KEY_BYTES))
    # Two at once: the first one's key is everybody's.
    policy, _ = Policy.objects.get_or_create(clinic=clinic, defaults={"sealed_key": key})
    return policy


def mapper_of(policy: Policy) -> Mapper:
    """Return the keyed functions of a clinic: the same pseudonyms today, next year and after a restore."""
    return Mapper(open_secret(_PURPOSE.format(policy.clinic_id), bytes(policy.sealed_key)))


def ingest_preset(clinic: Clinic) -> str:
    """Return how files are anonymised on their way in, "" for as they come."""
    chosen = Policy.objects.filter(clinic=clinic).values_list("ingest_preset", flat=True).first()
    return chosen or ""


def choose(
    principal: Principal, *, ingest_preset: str, link_preset: str, download_preset: str, keeps_identities: bool
) -> Policy:
    """Write down a clinic's choices and record them; without the table nobody finds back, so it is emptied."""
    policy = policy_of(principal.clinic)
    with transaction.atomic():
        policy.ingest_preset = Preset(ingest_preset).value if ingest_preset else ""
        policy.link_preset, policy.download_preset = Preset(link_preset).value, Preset(download_preset).value
        policy.keeps_identities = keeps_identities
        policy.save()
        if not keeps_identities:
            Identity.objects.filter(clinic=principal.clinic).delete()
        record(
            "deidentification.changed",
            context=principal.context,
            clinic_id=principal.clinic.pk,
            object_kind="clinic",
            object_reference=principal.clinic.public_id,
            details={
                "filters": [
                    f"ingest:{policy.ingest_preset or 'off'}",
                    f"links:{policy.link_preset}",
                    f"downloads:{policy.download_preset}",
                ],
                "is_table_kept": keeps_identities,
            },
        )
    return policy


def remember(policy: Policy, original: Header, pseudonym: str) -> None:
    """Keep who is behind a pseudonym, sealed, where the clinic asked for it."""
    if not policy.keeps_identities or not pseudonym:
        return
    born = original.patient_birth_date
    said = {
        "patient_name": original.patient_name,
        "dicom_patient_id": original.dicom_patient_id,
        "issuer_of_patient_id": original.issuer_of_patient_id,
        "patient_birth_date": born.isoformat() if born else "",
    }
    sealed = seal_secret(_IDENTITY.format(policy.clinic_id), json.dumps(said).encode())
    Identity.objects.get_or_create(clinic_id=policy.clinic_id, pseudonym=pseudonym[:64], defaults={"sealed": sealed})


def identity_behind(clinic: Clinic, pseudonym: str) -> dict[str, str] | None:
    """Return what the header said of the person behind a pseudonym, None when the table does not know."""
    row = Identity.objects.filter(clinic=clinic, pseudonym=pseudonym.strip()).first()
    if row is None:
        return None
    said: dict[str, str] = json.loads(open_secret(_IDENTITY.format(clinic.pk), bytes(row.sealed)))
    return said
