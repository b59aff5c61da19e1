"""What is large is prepared while people do something else: encrypted, for who asked, for a day."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Membership, User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports import preparing
from apps.exports.models import Export
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.storage.services import used_bytes
from apps.studies.models import Study
from tests.exports.test_downloads import unzipped
from tests.studies.files import index, part10

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def study(clinic_a: Clinic) -> Study:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1"), part10("ct2", InstanceNumber=2))
        return Study.objects.select_related("patient", "clinic").get()


def prepare(client: Client, study: Study, kind: str = "zip") -> Export:
    response = client.post(reverse("study-prepare", args=["alpha", study.public_id]), {"format": kind})
    assert response["Location"] == "/c/alpha/exports/"
    with clinic_scope(study.clinic):
        return Export.objects.latest("pk")


def address(export: Export) -> str:
    return f"/c/alpha/exports/{export.public_id}/"


def test_it_is_prepared_told_and_taken_in_pieces(as_bob: Client, bob: User, clinic_a: Clinic, study: Study) -> None:
    export = prepare(as_bob, study)
    assert as_bob.get(address(export)).status_code == 404
    assert "Waiting" in as_bob.get("/c/alpha/exports/").content.decode()
    process_until_idle()
    assert [message.to for message in mail.outbox] == [[bob.email]]
    assert study.patient.readable_name not in f"{mail.outbox[0].subject} {mail.outbox[0].body}"
    page = as_bob.get("/c/alpha/exports/", headers={"HX-Request": "true"}).content.decode()
    assert address(export) in page
    assert "hx-get" not in page
    whole = as_bob.get(address(export))
    body = whole.getvalue()
    assert len([name for name in unzipped(body) if name.startswith("DICOM/")]) == 2
    rest = as_bob.get(address(export), headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.getvalue()) == (206, body[1000:])
    events = AuditEvent.objects.filter(verb="study.downloaded", study_reference=study.public_id)
    assert {event.details["export_reference"] for event in events} == {export.public_id}
    assert AuditEvent.objects.filter(verb="export.requested").exists()


def test_nobody_else_finds_it(as_bob: Client, as_alice: Client, as_charlie: Client, study: Study) -> None:
    export = prepare(as_bob, study)
    process_until_idle()
    for client in (as_alice, as_charlie):
        assert client.get(address(export)).status_code == 404
    assert address(export) not in as_alice.get("/c/alpha/exports/").content.decode()


def test_who_may_not_see_the_study_any_more_gets_nothing(
    as_bob: Client, bob: User, clinic_a: Clinic, study: Study
) -> None:
    export = prepare(as_bob, study)
    process_until_idle()
    Membership.objects.filter(user=bob).update(is_limited=True)
    assert as_bob.get(address(export)).status_code == 404


def test_after_a_day_it_is_gone_for_good(as_bob: Client, clinic_a: Clinic, study: Study) -> None:
    as_bob.get(reverse("study-download", args=["alpha", study.public_id])).getvalue()  # makes pictures and metadata
    with clinic_scope(clinic_a):
        before = used_bytes(clinic_a)
    export = prepare(as_bob, study)
    process_until_idle()
    with clinic_scope(clinic_a):
        assert used_bytes(clinic_a) > before
    assert preparing.remove_expired() == 0
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=False):
        assert preparing.remove_expired() == 1
    with clinic_scope(clinic_a):
        export.refresh_from_db()
        assert (export.state, export.blob) == (Export.State.EXPIRED, None)
        assert Blob.objects.get(kind="export").is_destroyed
        assert used_bytes(clinic_a) == before
    assert as_bob.get(address(export)).status_code == 404


def test_a_broken_study_is_said_to_have_failed_and_leaves_nothing(
    as_bob: Client, clinic_a: Clinic, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError

    monkeypatch.setattr("apps.exports.tasks.layout_of", broken)
    export = prepare(as_bob, study)
    process_until_idle()
    with clinic_scope(clinic_a):
        export.refresh_from_db()
        assert export.state == Export.State.FAILED
        assert not Blob.objects.filter(kind="export").exists()
    assert Job.objects.get(kind="exports.prepare").state == Job.State.FAILED


def test_three_at_once_are_enough(as_bob: Client, clinic_a: Clinic, study: Study) -> None:
    for _ in range(preparing.MAX_AT_ONCE + 2):
        prepare(as_bob, study, "iso")
    with clinic_scope(clinic_a):
        assert Export.objects.count() == preparing.MAX_AT_ONCE
