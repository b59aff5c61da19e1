"""A receipt of a view, checked by a script that knows nothing of us; whatever is changed in it, the script says no."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.test import Client

from apps.accounts.models import User
from apps.audit.merkle import path_of, root_of
from apps.audit.models import AuditEvent, Seal
from apps.audit.services import Context, record, seal_events
from apps.clinics.models import Clinic
from apps.exports.models import SigningKey
from apps.exports.receipts import fingerprint

SCRIPT = Path(settings.BASE_DIR, "static", "receipts", "verify_receipt.py")


def check(receipt: object, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a bare Python: no packages, no environment of ours."""
    file = folder / "receipt.json"
    file.write_text(json.dumps(receipt))
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})


@pytest.fixture
def viewed(clinic_a: Clinic, alice: User) -> AuditEvent:
    """One view among others, in the middle of a seal that is not the first."""

    def view(number: int) -> AuditEvent:
        context = Context("link", "L" * 22, remote_addr="192.0.2.7", user_agent="Safari “phone”", session_hash="5" * 64)
        study = f"study{number}"
        return record(
            "series.viewed", context=context, clinic_id=clinic_a.pk, object_kind="series", object_reference="R",
            study_reference=study, patient_reference="P", details={"is_limited": True, "source": "dicomweb"},
        )  # fmt: skip

    view(0)
    seal_events()
    return [view(number) for number in range(1, 12)][4]


@pytest.fixture
def receipt(as_alice: Client, viewed: AuditEvent) -> dict[str, Any]:
    response = as_alice.get(f"/c/alpha/audit/{viewed.public_id}/receipt.json")
    assert response.status_code == 200
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_anybody_checks_a_receipt_without_us(receipt: dict[str, Any], viewed: AuditEvent, tmp_path: Path) -> None:
    done = check(receipt, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("VALID, signed by the key ")
    for fact in ("Series viewed", "192.0.2.7", "link LLLL", "study5", viewed.timestamp.strftime("%Y-%m-%dT%H:%M:%S")):
        assert fact in done.stdout
    key = fingerprint(bytes(SigningKey.objects.get().public_key))
    assert key in done.stdout
    assert check(receipt, tmp_path, key).returncode == 0
    assert "another key" in check(receipt, tmp_path, key[:-1] + "x").stderr


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for name, one in value.items() for found in leaves(one, (*path, name))]
    if isinstance(value, list):
        return [found for at, one in enumerate(value) for found in leaves(one, (*path, at))]
    return [path]


def test_whatever_is_changed_the_script_says_no(receipt: dict[str, Any], tmp_path: Path) -> None:
    paths = leaves(receipt)
    assert len(paths) > 60
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(SCRIPT.read_text(), namespace)  # one process for all of them
    assert namespace["check"](receipt)
    for path in paths:
        changed = copy.deepcopy(receipt)
        place = changed
        for step in path[:-1]:
            place = place[step]
        value = place[path[-1]]
        place[path[-1]] = value + 1 if isinstance(value, int) and not isinstance(value, bool) else f"{value}0"
        with pytest.raises((ValueError, KeyError, TypeError)):
            namespace["check"](changed)
    del changed["signature"]
    assert check(changed, tmp_path).returncode == 1


def test_a_receipt_signed_by_somebody_else_names_another_key(receipt: dict[str, Any], tmp_path: Path) -> None:
    import base64

    from apps.exports.signing import message_of

    forger = Ed25519PrivateKey.generate()
    receipt["clinic"]["name"] = "Another"
    public = forger.public_key().public_bytes_raw()
    receipt["signature"] = {
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(public).decode(),
        "value": base64.b64encode(forger.sign(message_of("receipt", receipt))).decode(),
    }
    assert fingerprint(public) in check(receipt, tmp_path).stdout
    assert check(receipt, tmp_path, fingerprint(bytes(SigningKey.objects.get().public_key))).returncode == 1


def test_the_root_of_a_receipt_is_the_root_of_the_seal(receipt: dict[str, Any]) -> None:
    assert receipt["proof"]["seal"][4] in {bytes(seal.root).hex() for seal in Seal.objects.all()}


def test_the_path_of_every_leaf_of_every_tree_leads_to_its_root() -> None:
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(SCRIPT.read_text(), namespace)
    for count in range(1, 34):
        tree = [bytes([number]) * 32 for number in range(count)]
        for position, leaf in enumerate(tree):
            assert namespace["root_of"](leaf, position, count, path_of(tree, position)) == root_of(tree)


def test_a_receipt_is_recorded_and_only_for_who_may_read_the_trail_AUD_08(
    as_alice: Client, as_bob: Client, as_charlie: Client, viewed: AuditEvent
) -> None:
    url = f"/c/alpha/audit/{viewed.public_id}/receipt.json"
    answer = as_alice.get(url)
    event = AuditEvent.objects.get(public_id=answer["X-Audit-Id"])
    assert (event.verb, event.object_reference) == ("receipt.issued", viewed.public_id)
    assert as_bob.get(url).status_code == 403
    assert as_charlie.get(url).status_code == as_charlie.get(url.replace("alpha", "beta")).status_code == 404


def test_the_keys_are_published(client: Client, db: None) -> None:
    page = client.get("/receipts/").content.decode()
    assert fingerprint(bytes(SigningKey.objects.get().public_key)) in page
    assert "verify_receipt" in page


def test_the_private_key_is_sealed(client: Client, db: None) -> None:
    client.get("/receipts/")
    row = SigningKey.objects.get()
    assert len(bytes(row.sealed_private_key)) > 32
    assert bytes(row.public_key) not in bytes(row.sealed_private_key)
