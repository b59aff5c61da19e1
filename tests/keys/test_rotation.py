"""Keys are replaced while everything goes on, kept on paper in parts, and may be wrapped by AWS KMS."""

from __future__ import annotations

import base64
import io
import re
import secrets
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import boto3
import pytest
from django.core.management import CommandError, call_command
from moto import mock_aws
from pytest_django import Settings

from apps.clinics.models import Clinic
from apps.keys import kms
from apps.keys.errors import KeyUnavailableError
from apps.keys.escrow import join, split
from apps.keys.master import load_master_key
from apps.keys.models import ClinicKey, InstallationKey
from apps.keys.services import (
    check_master_key,
    create_master_key_file,
    forget_clinic_keys,
    keyed_digest,
    open_secret,
    retire_clinic_keys,
    rotate_clinic_key,
    seal_secret,
    unwrap_data_key,
    wrap_data_key,
)

DATA_KEY = secrets.token_bytes(32)


@pytest.fixture
def old(settings: Settings, tmp_path: Path) -> Path:
    """A master key in a file, as the present one."""
    path = tmp_path / "old.key"
    create_master_key_file(path)
    settings.MASTER_KEY, settings.MASTER_KEY_FILE = "", str(path)
    return path


@pytest.fixture
def used(old: Path, in_clinic_a: Clinic, settings: Settings) -> Clinic:
    """A clinic whose keys the old master key wraps."""
    InstallationKey.objects.all().delete()
    ClinicKey.objects.all().delete()
    forget_clinic_keys()
    return in_clinic_a


def test_a_new_master_key_opens_all_that_the_old_one_closed_and_nothing_waits_ENC_08(
    used: Clinic, old: Path, settings: Settings, tmp_path: Path
) -> None:
    wrapped, sealed = wrap_data_key(used.pk, DATA_KEY, b"blob"), seal_secret("seed", b"secret")
    digest = keyed_digest("digest", b"data")

    def is_readable() -> bool:
        forget_clinic_keys()
        opened = unwrap_data_key(used.pk, wrapped.clinic_key_id, wrapped.wrapped, b"blob")
        return (opened, open_secret("seed", sealed), keyed_digest("digest", b"data")) == (DATA_KEY, b"secret", digest)

    new = tmp_path / "new.key"
    create_master_key_file(new)
    settings.MASTER_KEY_FILE = str(new)
    with pytest.raises(KeyUnavailableError, match="put the right one back"):
        is_readable()
    settings.MASTER_KEY_PREVIOUS_FILE = str(old)
    assert is_readable()
    call_command("rotate_master_key", stdout=io.StringIO())
    assert is_readable()
    settings.MASTER_KEY_PREVIOUS_FILE = ""
    assert is_readable()
    check_master_key()
    settings.MASTER_KEY_FILE = str(old)
    with pytest.raises(KeyUnavailableError, match="put the right one back"):
        is_readable()


def test_a_master_key_is_not_replaced_by_one_that_cannot_open_what_is_there(
    used: Clinic, settings: Settings, tmp_path: Path
) -> None:
    wrap_data_key(used.pk, DATA_KEY, b"blob")
    before = list(ClinicKey.objects.order_by("pk").values_list("wrapped", flat=True))
    for name in ("MASTER_KEY_FILE", "MASTER_KEY_PREVIOUS_FILE"):
        create_master_key_file(tmp_path / name)
        setattr(settings, name, str(tmp_path / name))
    with pytest.raises(CommandError, match="put the right one back"):
        call_command("rotate_master_key")
    assert list(ClinicKey.objects.order_by("pk").values_list("wrapped", flat=True)) == before


def test_a_clinics_new_key_wraps_from_now_on_and_the_old_one_goes_when_nothing_needs_it_ENC_08(used: Clinic) -> None:
    before = wrap_data_key(used.pk, DATA_KEY, b"blob")
    row = rotate_clinic_key(used)
    after = wrap_data_key(used.pk, DATA_KEY, b"blob")
    assert (before.clinic_key_id, after.clinic_key_id) == (before.clinic_key_id, row.pk)
    assert retire_clinic_keys(used, keep={before.clinic_key_id}) == 0
    assert unwrap_data_key(used.pk, before.clinic_key_id, before.wrapped, b"blob") == DATA_KEY
    assert retire_clinic_keys(used, keep=set()) == 1
    with pytest.raises(KeyUnavailableError, match="gone"):
        unwrap_data_key(used.pk, before.clinic_key_id, before.wrapped, b"blob")
    assert unwrap_data_key(used.pk, after.clinic_key_id, after.wrapped, b"blob") == DATA_KEY


def test_any_two_of_three_sheets_are_the_key_and_one_is_nothing_ENC_10(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = tmp_path / "sheets.html"
    call_command("escrow_master_key", sheet)
    assert sheet.stat().st_mode & 0o777 == 0o400
    page = sheet.read_text()
    assert base64.b64encode(load_master_key()).decode() not in page
    words = [re.findall(r"<li>(\w+)</li>", part) for part in page.split("<section>")[1:]]
    assert [len(each) for each in words] == [33, 33, 33]
    for number, pair in enumerate(combinations(words, 2)):
        recovered = tmp_path / f"recovered-{number}.key"
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(" ".join(each).upper() + "\n" for each in pair) + "\n"))
        call_command("recover_master_key", recovered)
        assert recovered.read_text() == old.read_text()
    said = capsys.readouterr().out
    fingerprint = re.search(r"fingerprint is ([0-9a-f ]+):", said)
    assert fingerprint
    assert fingerprint[1] in page
    monkeypatch.setattr("sys.stdin", io.StringIO(" ".join(words[0]) + "\n"))
    with pytest.raises(CommandError, match="Nothing was written"):
        call_command("recover_master_key", tmp_path / "none.key")
    assert not (tmp_path / "none.key").exists()


def test_sheets_of_two_keys_or_with_a_wrong_word_give_none_ENC_10() -> None:
    one, other = (split(secrets.token_bytes(32), threshold=2, count=3) for _ in range(2))
    first = " ".join(one[0].words)
    wrong = " ".join(["academic", *one[1].words[1:]])
    for shares in ([first, " ".join(other[1].words)], [first, wrong], [first, first], [], ["no such words"]):
        with pytest.raises(KeyUnavailableError):
            join(shares)
    for threshold, count in ((1, 3), (4, 3), (2, 17)):
        with pytest.raises(ValueError, match="at least 2"):
            split(bytes(32), threshold=threshold, count=count)


@pytest.fixture
def kms_key(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[str]:
    """The ARN of a key in AWS KMS, played by moto."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setattr(kms, "_opened", {})
    with mock_aws():
        settings.MASTER_KEY_KMS = boto3.client("kms", region_name="eu-central-1").create_key()["KeyMetadata"]["Arn"]
        yield settings.MASTER_KEY_KMS


def test_a_key_that_kms_wraps_lies_nowhere_in_the_clear_ENC_08(
    kms_key: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master.key"
    settings.MASTER_KEY, settings.MASTER_KEY_FILE = "", str(path)
    create_master_key_file(path)
    key = load_master_key()
    assert len(key) == 32
    assert base64.b64encode(key).decode() not in path.read_text()
    kms._opened.clear()
    assert load_master_key() == key
    kms._opened.clear()
    settings.MASTER_KEY_KMS = kms_key.replace("key/", "key/0000")
    with pytest.raises(KeyUnavailableError, match="AWS KMS does not open"):
        load_master_key()
    settings.MASTER_KEY_KMS = "a name"
    with pytest.raises(KeyUnavailableError, match="ARN"):
        load_master_key()
