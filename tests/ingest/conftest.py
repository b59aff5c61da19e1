"""Principals and open batches for the tests of the way in."""

from collections.abc import Callable

import pytest

from apps.access.services import Principal, import_principal
from apps.accounts.models import User
from apps.accounts.roles import Role, capabilities_of
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest import services
from apps.ingest.models import Upload, UploadBatch
from apps.jobs.services import process_until_idle


@pytest.fixture
def alice_acts(alice: User, in_clinic_a: Clinic) -> Principal:
    """Alice, below the views."""
    context = Context("user", alice.public_id, user_id=alice.pk)
    return Principal("member", in_clinic_a, capabilities_of(Role.OWNER), context, alice)


@pytest.fixture
def importer(in_clinic_a: Clinic) -> Principal:
    """A program of ours that imports into clinic A."""
    return import_principal(in_clinic_a, "test")


@pytest.fixture
def batch(alice_acts: Principal) -> UploadBatch:
    """A batch that Alice opened on the upload page."""
    return services.open_batch(alice_acts, UploadBatch.Source.WEB)


Send = Callable[..., Upload]


@pytest.fixture
def send(alice_acts: Principal, batch: UploadBatch) -> Send:
    """Receive one file as Alice and work off what follows; the upload as it is then."""

    def send(data: bytes, name: str = "IM1", into: UploadBatch | None = None) -> Upload:
        upload = services.receive(alice_acts, into or batch, name, [data])
        process_until_idle()
        upload.refresh_from_db()
        return upload

    return send


def store_as(clinic: Clinic, data: bytes) -> str:
    """Store one instance in a clinic through the importer's door; returns the outcome."""
    with clinic_scope(clinic):
        principal = import_principal(clinic, "test")
        opened = services.open_batch(principal, UploadBatch.Source.IMPORT)
        [outcome] = services.store_now(principal, opened, [[data]])
        return outcome.outcome
