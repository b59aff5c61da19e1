import datetime
from dataclasses import replace

import pytest

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.studies.matching import InstanceCriteria, SeriesCriteria, StudyCriteria
from apps.studies.models import Study
from apps.studies.queries import COUNT_CAP, Order, count, search, search_instances, search_page, search_series
from tests.studies.files import index, part10, uid

PEOPLE = {
    "muller": {"PatientName": "Müller^Jörg", "PatientID": "P-17", "AccessionNumber": "A-1", "StudyDate": "20200105"},
    "mueller": {"PatientName": "MUELLER^ANNA", "PatientID": "p-18", "AccessionNumber": "A-2", "StudyDate": "20210301"},
    "yamada": {
        "PatientName": "Yamada^Tarou=山田^太郎",
        "PatientID": "X_19",
        "AccessionNumber": "B-3",
        "StudyDate": "20210302",
        "Modality": "MR",
        "StudyDescription": "Knee [left]",
    },
    "undated": {"PatientName": "Zorro", "PatientID": "X519", "AccessionNumber": "", "StudyDate": "", "Modality": "US"},
}


@pytest.fixture
def studies(in_clinic_a: Clinic) -> Principal:
    """Four studies, and somebody who may see all of them."""
    index(in_clinic_a, *[part10(name, study=name, series=name, **facts) for name, facts in PEOPLE.items()])
    return Principal("member", in_clinic_a, frozenset(Capability), Context.system("test"))


def found(principal: Principal, **criteria: object) -> set[str]:
    names = {uid(name): name for name in PEOPLE}
    return {names[study.study_instance_uid] for study in search(principal, StudyCriteria(**criteria))}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", set(PEOPLE)),
        ("mül", {"muller", "mueller"}),
        ("muel", {"muller", "mueller"}),
        ("mul", {"muller"}),
        ("jörg MÜLL", {"muller"}),
        ("p-1", {"muller", "mueller"}),
        ("a-2", {"mueller"}),
        ("anna a-2", {"mueller"}),
        ("anna a-1", set()),
        ("山", {"yamada"}),
        ("m*r", {"muller", "mueller"}),
        ("_", set()),
        ("%", set()),
        ("[", set()),
        ("' OR 1=1 --", set()),
    ],
)
def test_typed_words_are_beginnings(studies: Principal, typed: str, expected: set[str]) -> None:
    assert found(studies, words=typed) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Müller^Jörg", {"muller"}),
        ("MULLER^JORG", {"muller"}),
        ("muller*", {"muller"}),
        ("*ller*", {"muller", "mueller"}),
        ("mu?ller^*", {"mueller"}),
        ("yamada^tarou", {"yamada"}),
        ("山田*", {"yamada"}),
        ("muller", set()),
    ],
)
def test_person_names_match_by_wild_cards_without_case_and_diacritics(
    studies: Principal, pattern: str, expected: set[str]
) -> None:
    assert found(studies, patient_name=(pattern,)) == expected


def test_fuzzy_names_match_by_the_beginnings_of_words_in_any_order(studies: Principal) -> None:
    assert found(studies, patient_name=("jorg mull",), is_fuzzy=True) == {"muller"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("P-17",), {"muller"}),
        (("p-17",), set()),
        (("P*",), {"muller"}),
        (("X?19",), {"yamada", "undated"}),
        (("X_19",), {"yamada"}),
        (("P-17", "X5*"), {"muller", "undated"}),
    ],
)
def test_numbers_match_exactly_or_by_wild_cards(
    studies: Principal, patterns: tuple[str, ...], expected: set[str]
) -> None:
    assert found(studies, dicom_patient_id=patterns) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (datetime.date(2021, 3, 1), datetime.date(2021, 3, 1), {"mueller"}),
        (datetime.date(2021, 3, 1), None, {"mueller", "yamada"}),
        (None, datetime.date(2021, 3, 1), {"muller", "mueller"}),
        (datetime.date(2000, 1, 1), datetime.date.max, {"muller", "mueller", "yamada"}),
        (datetime.date(2022, 1, 1), datetime.date(2022, 12, 31), set()),
    ],
)
def test_dates_are_ranges_with_both_ends(
    studies: Principal, first: datetime.date, last: datetime.date, expected: set[str]
) -> None:
    assert found(studies, study_date=(first, last)) == expected


def test_one_of_the_modalities_has_to_match(studies: Principal, in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("more", study="muller", series="more", Modality="SEG", PatientID="P-17"))
    assert found(studies, modalities_in_study=("SEG",)) == {"muller"}
    assert found(studies, modalities_in_study=("CT",)) == {"muller", "mueller"}
    assert found(studies, modalities_in_study=("MR", "US")) == {"yamada", "undated"}
    assert found(studies, modalities_in_study=("C",)) == set()


def test_descriptions_match_in_any_case_and_brackets_are_letters(studies: Principal) -> None:
    assert found(studies, study_description=("knee [LEFT]",)) == {"yamada"}
    assert found(studies, study_description=("*[l*",)) == {"yamada"}


def test_lists_of_uids(studies: Principal) -> None:
    assert found(studies, study_instance_uid=(uid("muller"), uid("yamada"), "1.2.3")) == {"muller", "yamada"}


@pytest.mark.parametrize("order", Order)
def test_pages_of_any_order_hold_every_study_once(studies: Principal, order: Order) -> None:
    pages = [search_page(studies, StudyCriteria(), order=order, page=number, size=1) for number in (1, 2, 3, 4)]
    assert {study.pk for page in pages for study in page.studies} == set(Study.objects.values_list("pk", flat=True))
    assert [page.has_next for page in pages] == [True, True, True, False]


def test_orders(studies: Principal) -> None:
    def names(order: Order) -> list[str]:
        return [study.patient_name_folded[:3] for study in search(studies, StudyCriteria(words="m"), order=order)]

    assert names(Order.NEWEST) == ["mue", "mul"]
    assert names(Order.OLDEST) == ["mul", "mue"]
    assert names(Order.NAME) == ["mue", "mul"]
    assert names(Order.NAME_DOWN) == ["mul", "mue"]


def test_counting_stops_at_the_cap(studies: Principal) -> None:
    assert count(studies, StudyCriteria()) == 4
    assert count(studies, StudyCriteria(), cap=2) == 2
    assert search_page(studies, StudyCriteria(), size=2).total == 4
    assert COUNT_CAP == 1000


def test_a_search_asks_one_question(studies: Principal, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        for study in search(studies, StudyCriteria(words="m")):
            assert study.patient.readable_name


def test_another_clinic_finds_nothing_AUTHZ_05(studies: Principal, clinic_b: Clinic) -> None:
    with clinic_scope(clinic_b):
        theirs = replace(studies, clinic=clinic_b)
        assert search(theirs, StudyCriteria()) == []
        assert search(theirs, StudyCriteria(study_instance_uid=(uid("muller"),))) == []
        assert search_series(theirs, StudyCriteria(), SeriesCriteria()) == []
        assert search_instances(theirs, StudyCriteria(), SeriesCriteria(), InstanceCriteria()) == []


def test_a_limited_principal_finds_what_was_granted_and_nothing_else(studies: Principal) -> None:
    muller, yamada = (Study.objects.get(study_instance_uid=uid(name)) for name in ("muller", "yamada"))
    by_study = replace(studies, study_references=frozenset({muller.public_id}))
    by_patient = replace(studies, patient_references=frozenset({yamada.patient.public_id}))
    both = replace(by_study, patient_references=by_patient.patient_references)
    nothing = replace(studies, study_references=frozenset())
    assert found(by_study) == {"muller"}
    assert found(by_patient) == {"yamada"}
    assert found(both) == {"muller", "yamada"}
    assert found(nothing) == set()
    assert count(by_study, StudyCriteria()) == 1
    [series] = search_series(by_study, StudyCriteria(), SeriesCriteria())
    assert series.study_id == muller.pk
    [instance] = search_instances(by_patient, StudyCriteria(), SeriesCriteria(), InstanceCriteria())
    assert instance.series.study_id == yamada.pk


def test_series_and_instances_are_searched_by_their_study_too(studies: Principal) -> None:
    [series] = search_series(studies, StudyCriteria(words="yamada"), SeriesCriteria(modality=("MR",)))
    assert series.series_instance_uid == uid("yamada")
    assert search_series(studies, StudyCriteria(words="yamada"), SeriesCriteria(modality=("CT",))) == []
    [instance] = search_instances(
        studies, StudyCriteria(), SeriesCriteria(), InstanceCriteria(sop_instance_uid=(uid("undated"),))
    )
    assert instance.series.study.patient.patient_name == "Zorro"
