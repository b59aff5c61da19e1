"""Merge, split and move with their undo: what changes, what never does, and that nothing is lost on the way."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from django.db import connection

from apps.access.services import Principal
from apps.accounts.models import Grant, Membership, User
from apps.accounts.roles import Role, capabilities_of
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.patients.models import IdentityFlag, Patient
from apps.storage.services import write_blob
from apps.studies import corrections
from apps.studies.errors import CorrectionRefusedError
from apps.studies.models import CorrectedStudy, Correction, Document, Study, StudyTerm
from apps.studies.services import visible
from tests.conftest import make_person
from tests.studies.files import index, part10, uid

OTHER = {"PatientName": "Schmidt^Anna", "PatientID": "P-18", "PatientBirthDate": "19810704"}


@dataclass(frozen=True)
class Person:
    """Facts as a form brings them."""

    patient_name: str = "Neu^Nina"
    dicom_patient_id: str = "P-99"
    issuer_of_patient_id: str = ""
    patient_birth_date: datetime.date | None = None
    patient_sex: str = ""


@pytest.fixture
def acts(alice: User, in_clinic_a: Clinic) -> Principal:
    context = Context("user", alice.public_id, user_id=alice.pk)
    return Principal("member", in_clinic_a, capabilities_of(Role.OWNER), context, alice)


@pytest.fixture
def two_people(in_clinic_a: Clinic) -> tuple[Patient, Patient]:
    """Müller with two studies, Schmidt with one."""
    index(in_clinic_a, part10("m1", study="m1", series="m1"), part10("m2", study="m2", series="m2"))
    index(in_clinic_a, part10("s1", study="s1", series="s1", **OTHER))
    return Patient.objects.get(dicom_patient_id="P-17"), Patient.objects.get(dicom_patient_id="P-18")


def study(name: str) -> Study:
    return Study.objects.select_related("patient").get(study_instance_uid=uid(name))


def picture(without: str = "") -> dict[str, object]:
    """Everything that a correction may change, to be compared before and after."""
    rows = Study.objects.exclude(study_instance_uid=uid(without))
    return {
        "studies": sorted(rows.values_list("public_id", "patient_id", "patient_name_folded", "dicom_patient_id")),
        "terms": sorted(StudyTerm.objects.filter(study__in=rows).values_list("study_id", "term")),
        "patients": sorted(
            Patient.objects.values_list("public_id", "patient_name", "merged_into_id", "is_identity_in_doubt"), key=str
        ),
        "grants": sorted(Grant.objects.values_list("membership_id", "kind", "reference")),
    }


def test_a_merge_gives_all_studies_to_the_one_who_stays(acts: Principal, two_people: tuple[Patient, Patient]) -> None:
    mueller, schmidt = two_people
    corrections.merge_patients(acts, mueller, schmidt)
    assert set(Study.objects.values_list("patient_id", flat=True)) == {schmidt.pk}
    assert set(Study.objects.values_list("patient_name_folded", flat=True)) == {"schmidt^anna"}
    assert study("m1").terms.filter(term="schmidt").exists()
    assert not study("m1").terms.filter(term="muller").exists()


def test_undoing_restores_exactly(acts: Principal, two_people: tuple[Patient, Patient]) -> None:
    mueller, schmidt = two_people
    before = picture()
    done = corrections.merge_patients(acts, mueller, schmidt)
    corrections.undo(acts, done)
    assert picture() == before
    done = corrections.split_patient(acts, mueller, [study("m1")], Person())
    assert picture() != before
    corrections.undo(acts, done)
    assert picture() == before
    moved = corrections.move_study(acts, study("m1"), schmidt)
    assert moved
    corrections.undo(acts, moved)
    corrections.undo(acts, moved)
    assert picture() == before


def test_a_patient_who_has_got_something_of_her_own_since_stays_when_the_split_is_taken_back(
    acts: Principal, in_clinic_a: Clinic, two_people: tuple[Patient, Patient]
) -> None:
    mueller, _schmidt = two_people
    done = corrections.split_patient(acts, mueller, [study("m1")], Person())
    Document.objects.create(
        clinic=in_clinic_a,
        patient=done.target,
        blob=write_blob(in_clinic_a, "document", [b"%PDF"]),
        title="Letter",
        media_type="application/pdf",
    )
    corrections.undo(acts, done)
    assert study("m1").patient == mueller
    assert Patient.objects.filter(pk=done.target_id).exists()


def test_the_same_twice_is_once(acts: Principal, two_people: tuple[Patient, Patient]) -> None:
    mueller, schmidt = two_people
    first = corrections.merge_patients(acts, mueller, schmidt)
    assert corrections.merge_patients(acts, mueller, schmidt) == first
    assert corrections.move_study(acts, study("m1"), schmidt) is None
    assert Correction.objects.count() == 1


def test_moving_back_takes_the_move_back(acts: Principal, two_people: tuple[Patient, Patient]) -> None:
    mueller, schmidt = two_people
    before = picture()
    corrections.move_study(acts, study("m1"), schmidt)
    corrections.move_study(acts, study("m1"), mueller)
    assert picture() == before
    assert not Correction.objects.filter(undone_at=None).exists()


def test_what_comes_late_goes_where_the_study_and_the_patient_are(
    acts: Principal, in_clinic_a: Clinic, two_people: tuple[Patient, Patient]
) -> None:
    mueller, schmidt = two_people
    corrections.move_study(acts, study("m1"), schmidt)
    index(in_clinic_a, part10("m1-late", study="m1", series="late"))
    assert study("m1").patient == schmidt
    assert study("m1").number_of_study_related_series == 2
    assert not IdentityFlag.objects.exists()  # a person has said whose study it is
    merge = corrections.merge_patients(acts, mueller, schmidt)
    index(in_clinic_a, part10("m3", study="m3", series="m3"))
    assert study("m3").patient == schmidt
    assert study("m3").patient_name_folded == "schmidt^anna"
    corrections.undo(acts, merge)
    assert study("m3").patient == study("m2").patient == mueller
    assert study("m3").patient_name_folded == "muller^jorg"
    assert study("m1").patient == schmidt


def test_a_chain_of_merges_ends_at_the_last_and_comes_apart_in_its_order(
    acts: Principal, in_clinic_a: Clinic, two_people: tuple[Patient, Patient]
) -> None:
    mueller, schmidt = two_people
    index(in_clinic_a, part10("c1", study="c1", series="c1", PatientName="Last^One", PatientID="P-19"))
    last = study("c1").patient
    before = picture()
    first = corrections.merge_patients(acts, mueller, schmidt)
    second = corrections.merge_patients(acts, schmidt, last)
    mueller.refresh_from_db()
    assert mueller.merged_into == last
    index(in_clinic_a, part10("m4", study="m4", series="m4"))
    assert study("m4").patient == last
    with pytest.raises(CorrectionRefusedError):
        corrections.undo(acts, first)
    corrections.undo(acts, second)
    mueller.refresh_from_db()
    assert mueller.merged_into == schmidt
    assert study("m4").patient == schmidt
    corrections.undo(acts, first)
    assert study("m4").patient == mueller
    assert picture(without="m4") == before


def test_what_cannot_be_is_refused_and_changes_nothing(acts: Principal, two_people: tuple[Patient, Patient]) -> None:
    mueller, schmidt = two_people
    same = Person(patient_name="Müller^Jörg", dicom_patient_id="P-17")
    before = picture()
    for attempt in (
        lambda: corrections.merge_patients(acts, mueller, mueller),
        lambda: corrections.split_patient(acts, mueller, [study("m1")], same),
        lambda: corrections.split_patient(acts, mueller, [study("s1")], Person()),
        lambda: corrections.split_patient(acts, mueller, [], Person()),
    ):
        with pytest.raises(CorrectionRefusedError):
            attempt()
    assert picture() == before
    corrections.merge_patients(acts, mueller, schmidt)
    with pytest.raises(CorrectionRefusedError):
        corrections.merge_patients(acts, schmidt, mueller)
    with pytest.raises(CorrectionRefusedError):
        corrections.move_study(acts, study("s1"), mueller)


def test_a_grant_shows_what_it_was_made_for_and_no_more(
    acts: Principal, in_clinic_a: Clinic, two_people: tuple[Patient, Patient], password_hash: str
) -> None:
    mueller, schmidt = two_people
    lina = make_person("lina@alpha.example", "Lina", password_hash)
    place = Membership.objects.create(user=lina, clinic=in_clinic_a, role=Role.PHYSICIAN, is_limited=True)
    Grant.objects.create(membership=place, kind=Grant.Kind.PATIENT, reference=mueller.public_id)

    def seen() -> set[str]:
        by_kind = {
            kind: frozenset(place.grants.filter(kind=kind).values_list("reference", flat=True)) for kind in Grant.Kind
        }
        limited = Principal(
            "member", in_clinic_a, place.capabilities, acts.context, lina,
            by_kind[Grant.Kind.PATIENT], by_kind[Grant.Kind.STUDY],
        )  # fmt: skip
        return set(Study.objects.filter(visible(limited)).values_list("study_instance_uid", flat=True))

    hers = {uid("m1"), uid("m2")}
    assert seen() == hers
    done = corrections.merge_patients(acts, mueller, schmidt)
    assert seen() == hers
    index(in_clinic_a, part10("m3", study="m3", series="m3"))
    assert seen() == hers
    corrections.undo(acts, done)
    assert seen() == hers | {uid("m3")}


def test_each_correction_is_in_the_trail_of_both_patients_and_each_study(
    acts: Principal, two_people: tuple[Patient, Patient]
) -> None:
    mueller, schmidt = two_people
    earlier = list(AuditEvent.objects.order_by("pk").values_list("pk", "patient_reference"))
    done = corrections.merge_patients(acts, mueller, schmidt)
    events = AuditEvent.objects.filter(verb="patient.merged")
    assert set(events.filter(study_reference="").values_list("patient_reference", flat=True)) == {
        mueller.public_id,
        schmidt.public_id,
    }
    assert set(events.exclude(study_reference="").values_list("study_reference", flat=True)) == {
        study("m1").public_id,
        study("m2").public_id,
    }
    corrections.undo(acts, done)
    assert AuditEvent.objects.filter(verb="correction.undone", object_reference=done.public_id).count() == 4
    # The trail itself is never rewritten: what was, was.
    assert (
        list(
            AuditEvent.objects.filter(pk__in=[pk for pk, _ in earlier])
            .order_by("pk")
            .values_list("pk", "patient_reference")
        )
        == earlier
    )


def test_one_number_with_two_names_is_flagged_until_somebody_says_what_it_is(
    acts: Principal, in_clinic_a: Clinic
) -> None:
    index(in_clinic_a, part10("a"))
    index(in_clinic_a, part10("b", study="b", series="b", PatientName="Schmidt^Anna"))
    first, second = Patient.objects.order_by("pk")
    assert first.is_identity_in_doubt
    assert second.is_identity_in_doubt
    flag = IdentityFlag.open_ones().get()
    merge = corrections.merge_patients(acts, second, first)
    first.refresh_from_db()
    assert not first.is_identity_in_doubt
    assert not IdentityFlag.open_ones().exists()
    corrections.undo(acts, merge)
    assert IdentityFlag.open_ones().get() == flag
    corrections.say_different(acts, flag)
    corrections.say_different(acts, flag)
    assert not IdentityFlag.open_ones().exists()
    assert not Patient.objects.filter(is_identity_in_doubt=True).exists()
    assert AuditEvent.objects.filter(verb="identity.confirmed").count() == 2
    # And it stays said.
    index(in_clinic_a, part10("c", study="c", series="c", PatientName="Schmidt^Anna"))
    assert not IdentityFlag.open_ones().exists()


def test_late_images_that_name_somebody_else_are_flagged(acts: Principal, in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("a"))
    index(in_clinic_a, part10("b", series="late", **OTHER))
    flag = IdentityFlag.open_ones().get()
    assert flag.reason == IdentityFlag.Reason.STUDY
    assert flag.study_reference == study("study").public_id
    assert study("study").patient.dicom_patient_id == "P-17"
    index(in_clinic_a, part10("c", series="late", **OTHER))
    assert IdentityFlag.objects.count() == 1


def test_a_number_alone_is_no_reason_to_pick_one_of_two(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("a"))
    index(in_clinic_a, part10("b", study="b", series="b", PatientName="Schmidt^Anna"))
    index(in_clinic_a, part10("c", study="c", series="c", PatientName="", PatientBirthDate=""))
    assert Patient.objects.count() == 3
    assert IdentityFlag.open_ones().count() == 3


@pytest.mark.django_db(transaction=True)
def test_two_names_for_one_number_at_the_same_moment_are_flagged(clinic_a: Clinic) -> None:
    contents = [
        part10(
            f"r{round_}n{n}", study=f"r{round_}n{n}", series="s", PatientID=f"N-{round_}", PatientName=f"Person{n}^X"
        )
        for round_ in range(3)
        for n in range(2)
    ]
    at_once(clinic_a, [lambda content=content: index(clinic_a, content) for content in contents], workers=4)
    with clinic_scope(clinic_a):
        assert Patient.objects.count() == 6
        assert IdentityFlag.open_ones().count() == 3
        assert Patient.objects.filter(is_identity_in_doubt=True).count() == 6


@pytest.mark.django_db(transaction=True)
def test_corrections_and_uploads_at_once_lose_nothing(clinic_a: Clinic, alice: User) -> None:
    """Merges there and back while studies of both patients arrive: every study ends with the one its patient is."""
    context = Context("user", alice.public_id, user_id=alice.pk)
    acts = Principal("member", clinic_a, capabilities_of(Role.OWNER), context, alice)
    with clinic_scope(clinic_a):
        index(clinic_a, part10("m0", study="m0", series="m0"), part10("s0", study="s0", series="s0", **OTHER))
        mueller, schmidt = (Patient.objects.get(dicom_patient_id=number) for number in ("P-17", "P-18"))

    def there_and_back(source: Patient, target: Patient) -> None:
        for _ in range(4):
            try:
                merge = corrections.merge_patients(acts, source, target)
            except CorrectionRefusedError:  # the other way round, meanwhile
                continue
            corrections.undo(acts, merge)

    uploads = [
        lambda number=number, facts=facts: index(
            clinic_a,
            part10(f"u{number}", study=f"u{number}", series="u", **facts),
            part10(f"l{number}", study="m0", series=f"l{number}"),
        )
        for number, facts in enumerate([{}, OTHER] * 4)
    ]
    merges = [partial(there_and_back, mueller, schmidt), partial(there_and_back, schmidt, mueller)]
    at_once(clinic_a, [*merges, *uploads], workers=5)
    with clinic_scope(clinic_a):
        assert not Correction.objects.filter(undone_at=None).exists()
        assert Study.objects.filter(patient=mueller).count() == 5
        assert Study.objects.filter(patient=schmidt).count() == 5
        assert not Study.objects.filter(patient__merged_into__isnull=False).exists()
        for row in Study.objects.select_related("patient"):
            assert row.patient_name_folded == row.patient.patient_name_folded
        assert not CorrectedStudy.objects.filter(correction__undone_at=None).exists()


def at_once(clinic: Clinic, acts: list, workers: int) -> None:
    def run(act) -> None:
        try:
            with clinic_scope(clinic):
                act()
        finally:
            connection.close()

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(run, act) for act in acts]:
            done.result(timeout=120)
