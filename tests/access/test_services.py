"""The gate to the way out: rights, visibility, and the record before the first byte."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
import time_machine
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from apps.access.services import (
    ObjectReference,
    Principal,
    authorise,
    authorise_series,
    import_principal,
    principal_of,
)
from apps.accounts.models import Grant, Membership, User
from apps.accounts.roles import CAPABILITIES, Capability, Role, Scope
from apps.accounts.services import create_api_token
from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic

STUDY, PATIENT, OTHER = "S" * 22, "P" * 22, "X" * 22


@dataclass
class Shown:
    """An object of a clinic, as studies and series offer themselves."""

    clinic_id: int
    kind: str = "series"
    reference: str = "R" * 22
    patient_reference: str = PATIENT
    study_reference: str = STUDY

    def audit_reference(self) -> ObjectReference:
        return ObjectReference(self.kind, self.reference, self.patient_reference, self.study_reference)


def request_of(user: User, clinic: Clinic, session_key: str = "s1") -> HttpRequest:
    """A request as the middleware hands it on."""
    request = RequestFactory().get("/")
    request.user, request.clinic = user, clinic
    request.membership, request.api_token = Membership.objects.get(user=user, clinic=clinic), None
    request.session = type("Session", (), {"row": type("Row", (), {"session_key": session_key})})()
    return request


@pytest.fixture
def limited_bob(bob: User, clinic_a: Clinic) -> User:
    Membership.objects.filter(user=bob).update(is_limited=True)
    return bob


def test_an_allowed_act_is_recorded_and_named_AUD_01(bob: User, clinic_a: Clinic):
    request = request_of(bob, clinic_a)
    event = authorise(request, Capability.STUDY_VIEW, Shown(clinic_a.pk, "study", STUDY), verb="study.viewed")
    assert request.audit_id == event.public_id
    stored = AuditEvent.objects.get(public_id=event.public_id)
    assert (stored.verb, stored.clinic_id, stored.actor_reference) == ("study.viewed", clinic_a.pk, bob.public_id)
    assert (stored.patient_reference, stored.study_reference, stored.session_hash) == (PATIENT, STUDY, "s1")


def test_a_foreign_object_does_not_exist_and_is_not_named_AUTHZ_01(bob: User, clinic_a: Clinic, clinic_b: Clinic):
    foreign = Shown(clinic_b.pk, "study", OTHER, OTHER, OTHER)
    with pytest.raises(Http404):
        authorise(request_of(bob, clinic_a), Capability.STUDY_VIEW, foreign, verb="study.viewed")
    event = AuditEvent.objects.get(verb="study.viewed")
    assert event.outcome == "denied"
    assert OTHER not in str(list(AuditEvent.objects.filter(pk=event.pk).values()))


def test_a_missing_right_is_refused_and_recorded_AUD_08(bob: User, clinic_a: Clinic):
    request = request_of(bob, clinic_a)
    with pytest.raises(Http404):
        authorise(request, Capability.MEMBER_MANAGE, verb="member.listed")
    event = AuditEvent.objects.get(verb="member.listed")
    assert (event.outcome, event.details["reason"]) == ("denied", "missing-capability")
    assert not hasattr(request, "audit_id")


def test_without_a_record_there_is_no_answer_AUD_02(bob: User, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise AuditUnavailableError

    monkeypatch.setattr("apps.access.services.record", broken)
    with pytest.raises(AuditUnavailableError):
        authorise(request_of(bob, clinic_a), Capability.STUDY_VIEW, Shown(clinic_a.pk), verb="study.viewed")


def test_frames_ride_on_the_series_record_for_five_minutes_AUD_01(bob: User, clinic_a: Clinic):
    series, now = Shown(clinic_a.pk), timezone.now()
    with time_machine.travel(now):
        first = authorise_series(request_of(bob, clinic_a), Capability.STUDY_VIEW, series)
    with time_machine.travel(now + timedelta(minutes=4)):
        request = request_of(bob, clinic_a)
        assert authorise_series(request, Capability.STUDY_VIEW, series).public_id == first.public_id
        assert request.audit_id == first.public_id
        other_session = authorise_series(request_of(bob, clinic_a, "s2"), Capability.STUDY_VIEW, series)
        other_series = authorise_series(
            request_of(bob, clinic_a), Capability.STUDY_VIEW, Shown(clinic_a.pk, reference="Q" * 22)
        )
    with time_machine.travel(now + timedelta(minutes=6)):
        late = authorise_series(request_of(bob, clinic_a), Capability.STUDY_VIEW, series)
    assert len({first.pk, other_session.pk, other_series.pk, late.pk}) == 4


def test_a_covered_series_is_still_checked_every_time(limited_bob: User, clinic_a: Clinic):
    place, series = Membership.objects.get(user=limited_bob), Shown(clinic_a.pk)
    grant = Grant.objects.create(membership=place, kind=Grant.Kind.STUDY, reference=STUDY)
    authorise_series(request_of(limited_bob, clinic_a), Capability.STUDY_VIEW, series)
    grant.delete()
    with pytest.raises(Http404):
        authorise_series(request_of(limited_bob, clinic_a), Capability.STUDY_VIEW, series)


def test_limited_members_see_what_was_granted_and_nothing_else(limited_bob: User, clinic_a: Clinic):
    place = Membership.objects.get(user=limited_bob)
    nothing = principal_of(request_of(limited_bob, clinic_a))
    assert nothing.is_limited
    assert not nothing.may_see(Shown(clinic_a.pk)), "without any grant nothing is visible"
    Grant.objects.create(membership=place, kind=Grant.Kind.PATIENT, reference=PATIENT)
    by_patient = principal_of(request_of(limited_bob, clinic_a))
    assert by_patient.may_see(Shown(clinic_a.pk, study_reference=OTHER))
    assert not by_patient.may_see(Shown(clinic_a.pk, patient_reference=OTHER))
    assert not by_patient.may_see(Shown(clinic_a.pk, patient_reference=OTHER, study_reference=PATIENT))
    assert by_patient.capabilities <= CAPABILITIES[Role.PHYSICIAN]
    assert Capability.LINK_CREATE not in by_patient.capabilities


def test_empty_references_never_match(clinic_a: Clinic):
    principal = Principal(
        "link", clinic_a, frozenset(), Context.system("test"), patient_references=frozenset({""}), study_references=None
    )
    assert not principal.may_see(Shown(clinic_a.pk, patient_reference="", study_reference=""))


def test_a_principal_of_one_clinic_sees_nothing_of_another(clinic_a: Clinic, clinic_b: Clinic):
    assert import_principal(clinic_a, "test").may_see(Shown(clinic_a.pk))
    assert not import_principal(clinic_a, "test").may_see(Shown(clinic_b.pk))


def test_tokens_act_with_their_scopes(clinic_a: Clinic, bob: User):
    request = RequestFactory().get("/")
    request.clinic, request.membership = clinic_a, None
    request.api_token = create_api_token(clinic_a, [Scope.READ], context=Context.system("test"))[0]
    principal = principal_of(request)
    assert principal.kind == "token"
    assert Capability.STUDY_SEARCH in principal.capabilities
    assert Capability.UPLOAD_CREATE not in principal.capabilities
    assert principal.context.actor_reference == request.api_token.public_id


def test_what_a_links_view_established_wins(bob: User, clinic_a: Clinic):
    request = request_of(bob, clinic_a)
    request.principal = Principal("link", clinic_a, frozenset(), Context("link", "L" * 22))
    assert principal_of(request).kind == "link"


def test_nobody_is_no_principal(db: None):
    with pytest.raises(PermissionDenied):
        principal_of(RequestFactory().get("/"))
