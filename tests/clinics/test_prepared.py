"""Prepared queries give the rows that the same query gives unprepared, inside the scope that is open, and no others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_scopes.exceptions import ScopeError

from apps.audit.models import AuditEvent
from apps.audit.services import Context, record
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.clinics.services import Asked, PreparedQuery
from apps.studies.models import Instance
from tests.studies.files import index, part10, uid

pytestmark = pytest.mark.django_db

INSTANCE: PreparedQuery[Instance] = PreparedQuery(
    lambda: Instance.objects.select_related("series__study__patient", "blob").filter(
        sop_instance_uid=Asked("sop_instance_uid")
    )
)


def test_it_finds_what_the_query_finds(clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        [instance] = index(clinic_a, part10(name="i1"))
        for _ in range(2):
            with CaptureQueriesContext(connection) as asked:
                found = INSTANCE.first(sop_instance_uid=uid("i1"))
                assert found == instance
                assert found.series.study.patient == instance.series.study.patient
                assert bytes(found.blob.sha256) == bytes(instance.blob.sha256)
                assert found.created_at == instance.created_at
            assert len(asked) == 1
        assert INSTANCE.first(sop_instance_uid="2.25.404") is None


def test_it_stays_inside_the_scope_AUTHZ_01(clinic_a: Clinic, clinic_b: Clinic) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10(name="i1"))
        assert INSTANCE.first(sop_instance_uid=uid("i1"))
    with clinic_scope(clinic_b):
        assert INSTANCE.first(sop_instance_uid=uid("i1")) is None
    with clinic_scope(clinic_a, edition="another"):
        assert INSTANCE.first(sop_instance_uid=uid("i1")) is None
    with pytest.raises(ScopeError):
        INSTANCE.first(sop_instance_uid=uid("i1"))
    with every_clinic(), pytest.raises(ScopeError):
        INSTANCE.first(sop_instance_uid=uid("i1"))


def test_values_are_adapted_and_none_may_be_missing(clinic_a: Clinic) -> None:
    event = record("study.viewed", context=Context.system("tests"), clinic_id=clinic_a.pk)
    since: PreparedQuery[AuditEvent] = PreparedQuery(
        lambda: AuditEvent.objects.filter(timestamp__gte=Asked("since")).order_by("-timestamp")
    )
    assert since.first(since=timezone.now() - timedelta(minutes=1)) == event
    assert since.first(since=timezone.now() + timedelta(minutes=1)) is None
    with pytest.raises(KeyError):
        since.first()
