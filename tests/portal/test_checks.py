"""An unsafe production configuration does not start, and says the fix (WEB-12)."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from portal.checks import refuse_unsafe_configuration


@pytest.fixture
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A production configuration with nothing wrong."""
    settings.PRODUCTION, settings.SECURE, settings.DEBUG = True, True, False
    settings.ALLOWED_HOSTS = ["images.practice.example"]
    monkeypatch.setenv("PORTAL_EMAIL_URL", "smtp://mail.practice.example")
    return settings


def test_a_safe_configuration_starts(production: Settings) -> None:
    refuse_unsafe_configuration()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SECRET_KEY", "short", "portal.E001"),
        ("MASTER_KEY", "", "portal.E003"),
        ("DEBUG", True, "portal.E010"),
        ("SECURE", False, "portal.E011"),
        ("ALLOWED_HOSTS", ["*"], "portal.E012"),
        ("ALLOWED_HOSTS", ["localhost"], "portal.E012"),
    ],
)
def test_an_unsafe_one_is_refused_with_the_fix(production: Settings, name: str, value: object, code: str) -> None:
    setattr(production, name, value)
    with pytest.raises(ImproperlyConfigured, match=f"{code}.*Fix: "):
        refuse_unsafe_configuration()


def test_mail_that_goes_nowhere_is_refused(production: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTAL_EMAIL_URL")
    with pytest.raises(ImproperlyConfigured, match=r"portal\.E013"):
        refuse_unsafe_configuration()


def test_a_key_file_that_others_may_read_is_refused(production: Settings, tmp_path: Path) -> None:
    key = tmp_path / "master.key"
    key.write_text("x")
    key.chmod(0o644)
    production.MASTER_KEY, production.MASTER_KEY_FILE = "", str(key)
    with pytest.raises(ImproperlyConfigured, match=r"portal\.E004.*chmod 400"):
        refuse_unsafe_configuration()


@pytest.mark.parametrize(
    ("options", "lock_days", "code"),
    [
        ({"location": ""}, 0, "portal.E005"),
        ("the first one's", 0, "portal.E006"),
        ({"location": "/mnt/nas"}, 30, "portal.E007"),
    ],
)
def test_a_second_place_that_is_none_is_refused(
    production: Settings, options: object, lock_days: int, code: str
) -> None:
    first = production.STORAGES["blobs"]
    chosen = first["OPTIONS"] if isinstance(options, str) else options
    production.STORAGES = production.STORAGES | {"replica-nas": {"BACKEND": first["BACKEND"], "OPTIONS": chosen}}
    production.REPLICAS = {"replica-nas": "PORTAL_REPLICA_NAS"}
    production.REPLICA_LOCK_DAYS = {"replica-nas": lock_days} if lock_days else {}
    with pytest.raises(ImproperlyConfigured, match=f"{code}.*Fix: .*"):
        refuse_unsafe_configuration()
