"""The master key is taken as it is or refused with the fix; none is ever made in place of a missing one (ENC-09)."""

import base64
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.keys.errors import KeyUnavailableError
from apps.keys.master import derive, fingerprint, load_master_key
from apps.keys.services import create_master_key_file

KEY = bytes(range(32))
ENCODED = base64.b64encode(KEY).decode()


@pytest.fixture
def key_file(tmp_path: Path, settings: Settings) -> Path:
    """A file with a key, named by the settings."""
    path = tmp_path / "master.key"
    path.write_text(ENCODED + "\n")
    path.chmod(0o400)
    settings.MASTER_KEY, settings.MASTER_KEY_FILE = "", str(path)
    return path


def test_key_comes_from_the_environment(settings: Settings) -> None:
    settings.MASTER_KEY, settings.MASTER_KEY_FILE = ENCODED, ""
    assert load_master_key() == KEY


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_key_comes_from_a_file_only_its_owner_reads(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert load_master_key() == KEY


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o700, 0o444])
def test_file_that_others_may_read_is_refused_with_the_fix_ENC_01(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyUnavailableError, match=f"mode 0{mode:o}.*chmod 0400"):
        load_master_key()


def test_missing_key_is_refused_with_the_fix_ENC_09(settings: Settings) -> None:
    settings.MASTER_KEY = settings.MASTER_KEY_FILE = ""
    with pytest.raises(KeyUnavailableError, match=r"PORTAL_MASTER_KEY_FILE.*create_master_key"):
        load_master_key()


def test_missing_file_is_refused_and_not_made_ENC_09(key_file: Path) -> None:
    key_file.unlink()
    with pytest.raises(KeyUnavailableError, match=r"No such file.*Never make a new key"):
        load_master_key()
    assert not key_file.exists()


def test_two_keys_are_refused(key_file: Path, settings: Settings) -> None:
    settings.MASTER_KEY = ENCODED
    with pytest.raises(KeyUnavailableError, match="keep one"):
        load_master_key()


@pytest.mark.parametrize(
    "text",
    ["", "short", base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(33)).decode(), "é" * 44, "-" * 44],
)
def test_what_is_no_key_is_refused_and_not_repeated(key_file: Path, text: str) -> None:
    key_file.chmod(0o600)
    key_file.write_text(text)
    with pytest.raises(KeyUnavailableError, match="32 bytes in base64") as raised:
        load_master_key()
    assert not text or text not in str(raised.value)


def test_uses_have_keys_of_their_own() -> None:
    assert len({derive(KEY, "one"), derive(KEY, "two"), derive(bytes(32), "one"), KEY}) == 4
    assert fingerprint(KEY) == fingerprint(KEY) != fingerprint(bytes(32))
    assert fingerprint(KEY) not in KEY


def test_command_writes_a_key_that_only_the_owner_reads(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "keys" / "master.key"
    settings.MASTER_KEY, settings.MASTER_KEY_FILE = "", str(path)
    old_umask = os.umask(0)
    try:
        call_command("create_master_key")
    finally:
        os.umask(old_umask)
    assert path.stat().st_mode & 0o777 == 0o400
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(load_master_key()) == 32


def test_two_made_keys_differ(tmp_path: Path) -> None:
    create_master_key_file(tmp_path / "a")
    create_master_key_file(tmp_path / "b")
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_command_never_replaces_a_file_ENC_09(key_file: Path) -> None:
    for arguments in ([], [str(key_file)]):
        with pytest.raises(CommandError, match="nothing was changed"):
            call_command("create_master_key", *arguments)
    assert load_master_key() == KEY


def test_command_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(CommandError):
        call_command("create_master_key", str(tmp_path / "link"))
    assert not (tmp_path / "target").exists()


def test_command_wants_to_know_where_to(settings: Settings) -> None:
    settings.MASTER_KEY_FILE = ""
    with pytest.raises(CommandError, match="Say where"):
        call_command("create_master_key")
