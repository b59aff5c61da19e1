"""Seals carried out of reach: what only somebody outside can notice is noticed (AUD-05)."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from apps.audit import triggers
from apps.audit.models import AuditEvent, Seal, SealMember
from apps.audit.services import Context, record, seal_events, verify_trail
from apps.clinics.models import Clinic
from apps.exports.anchors import AnchorError, anchor_new_seals, read_anchor
from apps.exports.receipts import fingerprint
from apps.exports.signing import public_keys

pytestmark = pytest.mark.django_db


@pytest.fixture
def vault(tmp_path: Path, settings: Settings) -> Path:
    settings.AUDIT_ANCHORS = [f"file://{tmp_path}/anchors.jsonl"]
    return tmp_path / "anchors.jsonl"


def happen(clinic: Clinic, count: int = 3) -> None:
    for _ in range(count):
        record("study.viewed", context=Context.system("tests"), clinic_id=clinic.pk, object_kind="study")
    seal_events()


def cut_off(clinic: Clinic) -> None:
    """Remove the last seal and its events, as the owner of the database can, so that nothing inside shows it."""
    with triggers.removed(connection):
        last = Seal.objects.filter(chain=clinic.pk).order_by("number").last()
        assert last
        events = list(SealMember.objects.filter(seal=last).values_list("event_id", flat=True))
        SealMember.objects.filter(seal=last).delete()
        last.delete()
        AuditEvent.objects.filter(pk__in=events).delete()


def test_a_tail_that_was_cut_off_is_noticed_outside_only_AUD_05(clinic_a: Clinic, vault: Path) -> None:
    known: dict[int, int] = {}
    happen(clinic_a)
    assert anchor_new_seals(known) >= 1
    happen(clinic_a)
    assert anchor_new_seals(known) == 1
    assert anchor_new_seals(known) == 0, "nothing new"
    call_command("verify_anchors", vault)
    cut_off(clinic_a)
    assert all(report.problem is None for report in verify_trail([clinic_a.pk]))
    with pytest.raises(CommandError):
        call_command("verify_anchors", vault)
    happen(clinic_a)  # the same number again, with other events
    with pytest.raises(CommandError):
        call_command("verify_anchors", vault, "--key", fingerprint(public_keys()[0].value).replace(" ", "").upper())


def test_an_anchor_names_nobody_and_cannot_be_forged_AUD_05(clinic_a: Clinic, vault: Path) -> None:
    happen(clinic_a)
    anchor_new_seals({})
    line = vault.read_bytes().splitlines()[-1]
    trusted = frozenset(fingerprint(key.value) for key in public_keys())
    assert set(read_anchor(line, trusted)) == {
        "format", "issuer", "at", "chain", "number", "count", "last_event_id", "digest",
    }  # fmt: skip
    for name, value in json.loads(line).items():
        changed = json.loads(line) | {name: value + 1 if isinstance(value, int) else "0"}
        with pytest.raises(AnchorError):
            read_anchor(json.dumps(changed).encode(), trusted)
    with pytest.raises(AnchorError, match="not trusted"):
        read_anchor(line, frozenset({"another"}))
    vault.write_bytes(b"{}\n")
    with pytest.raises(CommandError):
        call_command("verify_anchors", vault)


def test_syslog_takes_them_too_and_a_receiver_that_is_away_is_tried_again(
    clinic_a: Clinic, settings: Settings, tmp_path: Path
) -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def listen() -> None:
            taken, _ = server.accept()
            with taken:
                received.append(taken.makefile("rb").read())

        listener = threading.Thread(target=listen)
        listener.start()
        happen(clinic_a)
        settings.AUDIT_ANCHORS = [f"syslog://127.0.0.1:{port}"]
        known = dict.fromkeys(Seal.objects.exclude(chain=clinic_a.pk).values_list("chain", flat=True), 1)
        assert anchor_new_seals(known) == 1
        listener.join(10)
    length, _, message = received[0].partition(b" ")
    assert int(length) == len(message)
    assert message.startswith(b"<109>1 ")
    log = tmp_path / "messages"
    log.write_bytes(message + b"\n")
    call_command("verify_anchors", log)
    happen(clinic_a)
    assert anchor_new_seals(known) == 0, "nobody listens any more"
    assert known[clinic_a.pk] == 1


def test_without_a_place_nothing_is_carried(clinic_a: Clinic, settings: Settings) -> None:
    settings.AUDIT_ANCHORS = []
    happen(clinic_a)
    assert anchor_new_seals({}) == 0
