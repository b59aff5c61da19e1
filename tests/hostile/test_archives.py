"""Hostile archives and discs through the upload page: each gets its answer, and so does every file in it (UPL-03)."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload
from tests.hostile import intake
from tests.hostile.archive_files import archive_cases

pytestmark = pytest.mark.django_db

CASES = list(archive_cases())


def test_no_archive_is_there_twice_UPL_11() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 80


def test_each_archive_and_each_of_its_members_gets_an_answer_UPL_03_UPL_05_UPL_11(
    as_alice: Client, clinic_a: Clinic
) -> None:
    uploads = intake.send_large(as_alice, "alpha", CASES)
    assert intake.wrong(CASES, uploads) == {}
    members = {
        case.name: (case.members, intake.members_of(upload)) for case, upload in zip(CASES, uploads, strict=True)
    }
    assert {name: (told, dict(found)) for name, (told, found) in members.items() if dict(told) != found} == {}
    intake.assert_nothing_is_left(clinic_a)

    with clinic_scope(clinic_a):
        shown = list(Upload.objects.filter(archive__in=uploads).values_list("name", flat=True))
    for name in shown:
        assert name.isprintable()
        assert not name.startswith(("/", "\\"))
        assert ".." not in name.split("/")
    page = as_alice.get(f"/c/alpha/uploads/{uploads[0].batch.public_id}/").content.decode()
    assert "<img src=x" not in page
