from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import TestCase

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.jobs.models import Job
from apps.studies import indexing
from apps.studies.models import Instance, Series, Study
from tests.studies.files import REPORT, index, part10, stored, uid


def the_study() -> Study:
    return Study.objects.select_related("patient").get(study_instance_uid=uid("study"))


def test_a_study_counts_what_it_has(in_clinic_a: Clinic) -> None:
    contents = [
        part10("ct1"),
        part10("ct2", InstanceNumber=2),
        part10("pt1", series="pet", Modality="PT", SeriesNumber=2),
        part10("sr1", series="report", source=REPORT, SeriesNumber=3),
    ]
    index(in_clinic_a, *contents)
    study = the_study()
    assert study.modalities == ["CT", "PT", "SR"]
    assert study.number_of_study_related_series == 3
    assert study.number_of_study_related_instances == 4
    assert study.size_bytes == sum(map(len, contents))
    by_uid = {series.series_instance_uid: series for series in Series.objects.all()}
    assert by_uid[uid("series")].number_of_series_related_instances == 2
    assert by_uid[uid("series")].number_of_frames == 2
    assert by_uid[uid("series")].has_pixels
    assert not by_uid[uid("report")].has_pixels


def test_rows_come_back_in_the_order_given(in_clinic_a: Clinic) -> None:
    rows = index(in_clinic_a, part10("ct3"), part10("ct1"), part10("ct2"))
    assert [row.sop_instance_uid for row in rows] == [uid("ct3"), uid("ct1"), uid("ct2")]
    assert all(row.pk for row in rows)


def test_the_same_instance_again_changes_nothing_and_keeps_its_blob(in_clinic_a: Clinic) -> None:
    [first] = index(in_clinic_a, part10("ct1"))
    header, blob = stored(in_clinic_a, part10("ct1"))
    [again] = indexing.index_instances(in_clinic_a, [(header, blob)])
    assert again.pk == first.pk
    assert again.blob_id == first.blob_id != blob.pk
    assert the_study().number_of_study_related_instances == 1
    assert the_study().size_bytes == first.size_bytes


def test_the_same_instance_twice_in_one_batch_is_one(in_clinic_a: Clinic) -> None:
    rows = index(in_clinic_a, part10("ct1"), part10("ct1"))
    assert rows[0].pk == rows[1].pk
    assert the_study().number_of_study_related_instances == 1


def test_a_late_series_joins_its_study(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    index(in_clinic_a, part10("mr1", series="mr", Modality="MR"))
    assert the_study().modalities == ["CT", "MR"]
    assert the_study().number_of_study_related_series == 2


def test_who_comes_second_adds_nothing(in_clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that both found nothing: the second meets the first one's rows at every insert."""
    [first] = index(in_clinic_a, part10("ct1"))
    looked: list[int] = []
    really = indexing._instances

    def blind_at_first(clinic: Clinic, uids: object) -> dict[str, Instance]:
        looked.append(1)
        return {} if len(looked) == 1 else really(clinic, uids)  # type: ignore[arg-type]

    monkeypatch.setattr(indexing, "_instances", blind_at_first)
    monkeypatch.setattr(indexing, "_found_studies", first_time_empty(indexing._found_studies))
    monkeypatch.setattr(indexing, "_found_series", first_time_empty(indexing._found_series))
    [again] = index(in_clinic_a, part10("ct1"))
    assert again.pk == first.pk
    assert (Study.objects.count(), Series.objects.count(), Instance.objects.count()) == (1, 1, 1)
    assert the_study().number_of_study_related_instances == 1


def first_time_empty(function):
    calls: list[int] = []

    def asked(*arguments):
        calls.append(1)
        return {} if len(calls) == 1 else function(*arguments)

    return asked


def test_one_uid_in_two_clinics_is_two_things_AUTHZ_05(clinic_a: Clinic, clinic_b: Clinic) -> None:
    with clinic_scope(clinic_a):
        [ours] = index(clinic_a, part10("ct1"))
    with clinic_scope(clinic_b):
        [theirs] = index(clinic_b, part10("ct1", PatientName="Somebody^Else"))
        assert Study.objects.get().patient.patient_name == "Somebody^Else"
        assert Instance.objects.get() == theirs
    assert ours.pk != theirs.pk


def test_a_series_uid_used_by_two_studies_is_a_series_of_each(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"), part10("ct2", study="another"))
    assert Series.objects.filter(series_instance_uid=uid("series")).count() == 2
    assert {study.number_of_study_related_instances for study in Study.objects.all()} == {1}


def test_names_in_urls_are_random_AUTHZ_10(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"), part10("ct2", study="another", series="another"))
    names = [row.public_id for model in (Study, Series) for row in model.objects.all()]
    assert len(set(names)) == 4
    assert all(len(name) == 22 for name in names)  # 128 bits in base64url


def test_an_undated_study_is_listed_by_its_arrival(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1", StudyDate="", StudyTime=""))
    study = the_study()
    assert study.study_date is None
    assert abs((study.listed_at - study.created_at).total_seconds()) < 60


def test_facts_of_a_patient_that_come_later_make_all_studies_findable(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1", PatientName=""))
    index(in_clinic_a, part10("ct2", study="another", series="another"))
    assert set(Study.objects.values_list("patient_name_folded", flat=True)) == {"muller^jorg"}
    assert the_study().terms.filter(term="mueller").exists()


def test_preparing_a_series_in_arrival_is_queued_once(in_clinic_a: Clinic) -> None:
    for number in range(3):
        with TestCase.captureOnCommitCallbacks(execute=False):
            index(in_clinic_a, part10(f"ct{number}", InstanceNumber=number))
    assert Job.objects.filter(kind=indexing.PREPARE).count() == 1


def test_a_series_whose_preparation_was_given_up_is_prepared_after_all(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    index(in_clinic_a, part10("ct2", series="waiting"))
    first, second = Job.objects.order_by("pk")
    # Its workers died, before the first of them could note that it had begun.
    Job.objects.filter(pk=first.pk).update(state=Job.State.FAILED, error="WorkerLost")
    assert indexing.queue_left_over_preparation() == 1
    assert indexing.queue_left_over_preparation() == 0
    assert list(Job.objects.filter(state=Job.State.QUEUED).order_by("pk").values_list("payload", flat=True)) == [
        second.payload,
        first.payload,
    ]


def test_no_name_or_number_of_a_patient_is_in_a_job(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    assert all(set(job.payload) == {"series"} for job in Job.objects.all())


@pytest.mark.django_db(transaction=True)
def test_many_workers_with_the_same_study_make_it_once(clinic_a: Clinic) -> None:
    """Each brings all instances in an order of its own; nobody waits for ever, nothing is counted twice."""
    contents = [part10(f"ct{number}", series=f"series{number % 3}", InstanceNumber=number) for number in range(9)]

    def bring(start: int) -> None:
        try:
            with clinic_scope(clinic_a):
                for at in range(0, 9, 3):
                    turn = [(start * 4 + at + step) % 9 for step in range(3)]
                    index(clinic_a, *[contents[number] for number in turn])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(bring, start) for start in range(4)]:
            done.result(timeout=120)
    with clinic_scope(clinic_a):
        study = the_study()
        assert (Study.objects.count(), Series.objects.count(), Instance.objects.count()) == (1, 3, 9)
        assert study.number_of_study_related_instances == 9
        assert study.number_of_study_related_series == 3
        assert study.size_bytes == sum(map(len, contents))
        assert {series.number_of_series_related_instances for series in Series.objects.all()} == {3}
