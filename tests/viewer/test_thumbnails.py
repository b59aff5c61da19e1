"""Small pictures: a page of them is one record, and none of a series being opened (AUD-01)."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from tests.studies.files import index, part10, uid

pytestmark = pytest.mark.django_db


def test_a_strip_of_thumbnails_is_one_record_AUD_01(as_bob: Client, clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, *(part10(series=f"s{n}", name=f"i{n}") for n in range(3)))
    root = f"/c/alpha/dicomweb/studies/{uid('study')}/series"
    answers = [as_bob.get(f"{root}/{uid(f's{n}')}/thumbnail") for n in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer["X-Audit-Id"] for answer in answers}) == 1
    [event] = AuditEvent.objects.filter(verb__in=("thumbnails.viewed", "series.viewed"))
    assert (event.verb, event.object_kind) == ("thumbnails.viewed", "study")
    # Opening a series is another thing, and has its own.
    assert as_bob.get(f"{root}/{uid('s1')}/metadata").status_code == 200
    assert AuditEvent.objects.filter(verb="series.viewed").count() == 1
