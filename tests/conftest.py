"""The cast: Alice owns clinic A, Bob reads there, Charlie is in clinic B and must see nothing, Dana holds a link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.test import Client, TransactionTestCase
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY
from whitenoise.base import WhiteNoise

from apps.accounts.models import Membership, TotpDevice, User, UserSession
from apps.accounts.roles import Role
from apps.accounts.services import found_clinic
from apps.audit import triggers
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.keys.services import forget_clinic_keys
from tests.s3_server import s3_server

__all__ = ["s3_server"]

PASSWORD = "Vq7#kxwn-Zrb4tm"
TOTP_SEED = bytes(range(20))
SAMPLES = Path(settings.BASE_DIR).parent / "shared" / "dicom"


@pytest.fixture(scope="session", autouse=True)
def _one_look_at_the_static_files() -> Iterator[None]:
    """Every test client makes WhiteNoise list all program files: once a run is enough."""
    look, seen = WhiteNoise.update_files_dictionary, {}

    def remember(self: WhiteNoise, root: str, prefix: str) -> None:
        if (root, prefix) not in seen:
            before = set(self.files)
            look(self, root, prefix)
            seen[root, prefix] = {url: file for url, file in self.files.items() if url not in before}
        self.files.update(seen[root, prefix])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoise, "update_files_dictionary", remember)
        yield


@pytest.fixture(autouse=True)
def _no_keys_in_memory() -> None:
    """Each test has a database of its own, and so has its keys."""
    forget_clinic_keys()


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Argon2 takes its time on purpose: once a run is enough."""
    return make_password(PASSWORD)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample studies beside the checkout; a clone without it says so."""
    if not (SAMPLES / "MANIFEST.csv").exists():
        pytest.skip("no sample studies: ../shared/dicom is not beside this checkout")
    return SAMPLES


@pytest.fixture(scope="session", autouse=True)
def _flush_without_triggers() -> Iterator[None]:
    """A transactional test empties every table afterwards, which the trail's triggers rightly refuse."""
    plain = TransactionTestCase._fixture_teardown

    def teardown(case: TransactionTestCase) -> None:
        with triggers.removed(connection):
            plain(case)

    # For the whole session: a test's own fixtures may be torn down before its database is emptied.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", teardown)
        yield


def make_clinic(slug: str, name: str) -> Clinic:
    """A clinic with keys and a plan, as `manage.py create_clinic` leaves it."""
    return found_clinic(slug, name, context=Context.system("tests"))


def make_person(email: str, name: str, password_hash: str, *, clinic: Clinic | None = None, role: str = "") -> User:
    """A person with password and second factor, and a place in a clinic."""
    user = User.objects.create(email=email, name=name, password=password_hash, password_changed_at=timezone.now())
    TotpDevice.objects.create(
        user=user, name="phone", confirmed=True, sealed_seed=TotpDevice.seal_seed(user, TOTP_SEED)
    )
    if clinic:
        Membership.objects.create(user=user, clinic=clinic, role=role)
    return user


@pytest.fixture
def clinic_a(db: None) -> Clinic:
    return make_clinic("alpha", "Alpha Imaging")


@pytest.fixture
def clinic_b(db: None) -> Clinic:
    return make_clinic("beta", "Beta Radiology")


@pytest.fixture
def alice(clinic_a: Clinic, password_hash: str) -> User:
    """Owns clinic A."""
    return make_person("alice@alpha.example", "Alice", password_hash, clinic=clinic_a, role=Role.OWNER)


@pytest.fixture
def bob(clinic_a: Clinic, password_hash: str) -> User:
    """Reads in clinic A."""
    return make_person("bob@alpha.example", "Bob", password_hash, clinic=clinic_a, role=Role.PHYSICIAN)


@pytest.fixture
def charlie(clinic_b: Clinic, password_hash: str) -> User:
    """Owns clinic B and must see nothing of clinic A."""
    return make_person("charlie@beta.example", "Charlie", password_hash, clinic=clinic_b, role=Role.OWNER)


@pytest.fixture
def platform_admin(db: None, password_hash: str) -> User:
    """Runs the installation; no clinic's data comes with that."""
    user = make_person("pat@viewbox.example", "Pat", password_hash)
    user.is_staff = True
    user.save()
    return user


def signed_in(user: User) -> Client:
    """A browser in which this person has passed both factors."""
    client = Client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[-1])
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = TotpDevice.objects.get(user=user).persistent_id
    session.save()
    UserSession.objects.filter(user=user).update(verified_at=timezone.now())
    return client


@pytest.fixture
def as_alice(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def as_bob(bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def as_charlie(charlie: User) -> Client:
    return signed_in(charlie)


@pytest.fixture
def as_platform_admin(platform_admin: User) -> Client:
    return signed_in(platform_admin)


@pytest.fixture
def in_clinic_a(clinic_a: Clinic) -> Iterator[Clinic]:
    """The open scope of clinic A, for tests that work below the views."""
    with clinic_scope(clinic_a):
        yield clinic_a


@pytest.fixture
def in_clinic_b(clinic_b: Clinic) -> Iterator[Clinic]:
    """The open scope of clinic B."""
    with clinic_scope(clinic_b):
        yield clinic_b
