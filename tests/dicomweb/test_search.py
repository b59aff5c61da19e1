"""QIDO-RS: what is found, what is returned, and what is never widened."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Grant, Membership, User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.studies.models import Study
from tests.dicomweb.conftest import CT_SERIES, MIXED_SERIES, STUDY, Api, Sample, part10, parts_of, store, uid

pytestmark = pytest.mark.django_db

SECOND = uid("second study")
FOREIGN = uid("foreign study")
OHIF_FIELDS = "includefield=00081030,00080060,00080090,00100030"


@pytest.fixture
def second(clinic_a: Clinic, study: dict[str, Sample]) -> str:
    """An earlier study of the same patient."""
    content = part10(
        "MR_small.dcm",
        "prior",
        uid("prior series"),
        study=SECOND,
        StudyDate="20240301",
        AccessionNumber="A-1",
        StudyTime="",
    )
    store(clinic_a, [content])
    return SECOND


@pytest.fixture
def foreign(clinic_b: Clinic) -> str:
    """A study of another clinic, with the same PatientID."""
    store(clinic_b, [part10("MR_small.dcm", "foreign", uid("foreign series"), study=FOREIGN)])
    return FOREIGN


def studies_in(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/dicom+json"
    return [one["0020000D"]["Value"][0] for one in response.json()]


def test_the_requests_of_ohif_for_one_study(api: Api, study: dict[str, Sample], second: str, foreign: str) -> None:
    """As recorded: the study, its series, the patient's priors."""
    page = "limit=101&offset=0&fuzzymatching=false"
    accept = "application/dicom+json"
    assert studies_in(api.get(f"studies?{page}&{OHIF_FIELDS}&StudyInstanceUID={STUDY}", accept)) == [STUDY]
    series = api.get(f"studies/{STUDY}/series?includefield=00080021,00080031,0008103E,00200011", accept).json()
    assert [one["0020000E"]["Value"][0] for one in series][:2] == [CT_SERIES, MIXED_SERIES]
    assert {"00080021", "00080031", "0008103E", "00200011"} <= series[0].keys()
    assert studies_in(api.get(f"studies?00100020=P-17&{page}&{OHIF_FIELDS}", accept)) == [STUDY, second]


def test_a_study_has_the_attributes_that_the_standard_requires(api: Api, study: dict[str, Sample]) -> None:
    """PS3.18 Table 10.6.3-3."""
    [found] = api.get("studies").json()
    assert found == {
        "00080020": {"vr": "DA", "Value": ["20260115"]},
        "00080030": {"vr": "TM", "Value": ["101530"]},
        "00080050": {"vr": "SH", "Value": ["A-4711"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": found["00080061"]["Value"]},
        "00080090": {"vr": "PN", "Value": [{"Alphabetic": "House^Gregory"}]},
        "00081190": {"vr": "UR", "Value": [f"http://testserver/c/alpha/dicomweb/studies/{STUDY}"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
        "00100020": {"vr": "LO", "Value": ["P-17"]},
        "00100030": {"vr": "DA", "Value": ["19700131"]},
        "00100040": {"vr": "CS", "Value": ["M"]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "00200010": {"vr": "SH", "Value": ["S1"]},
        "00201206": {"vr": "IS", "Value": [4]},
        "00201208": {"vr": "IS", "Value": [13]},
    }
    assert sorted(found["00080061"]["Value"]) == ["CT", "ECG", "OT", "SR"]
    assert list(found) == sorted(found)


def test_a_series_and_an_instance_have_the_attributes_that_the_standard_requires(
    api: Api, study: dict[str, Sample]
) -> None:
    """PS3.18 Tables 10.6.3-4 and 10.6.3-5."""
    series = api.get(f"studies/{STUDY}/series?Modality=CT").json()
    assert len(series) == 1
    assert {"00080060", "0008103E", "00081190", "0020000E", "00200011", "00201209"} <= series[0].keys()
    instance = api.get(f"studies/{STUDY}/series/{CT_SERIES}/instances?InstanceNumber=2").json()
    assert len(instance) == 1
    assert instance[0]["00080018"]["Value"] == [study["ct2"].sop_instance_uid]
    assert instance[0]["00081190"]["Value"][0].endswith(study["ct2"].path)
    assert {"00080016", "00080056", "00200013", "00280010", "00280011", "00280100"} <= instance[0].keys()


def test_a_search_across_studies_names_patient_and_study(api: Api, study: dict[str, Sample]) -> None:
    for found in (*api.get("series").json(), *api.get("instances").json()):
        assert found["00100020"]["Value"] == ["P-17"]
        assert found["0020000D"]["Value"] == [STUDY]


MATCHES = {
    "PatientName=M%C3%BCller%5EJ%C3%B6rg": 2,
    "PatientName=m%C3%BCller*": 2,
    "PatientName=Muller%5E*": 2,
    "PatientName=Jorg": 0,
    "PatientName=J%C3%B6rg&fuzzymatching=true": 2,
    "PatientName=Schmidt*": 0,
    "PatientID=P-1?": 2,
    "PatientID=P-1": 0,
    "AccessionNumber=A-4711": 1,
    "StudyDate=20260115": 1,
    "StudyDate=20260101-20261231": 1,
    "StudyDate=-20251231": 1,
    "StudyDate=20240101-": 2,
    "StudyTime=10-11": 1,
    "ModalitiesInStudy=SR": 1,
    "ModalitiesInStudy=SR,MR": 2,
    "PatientBirthDate=19700131": 2,
    "StudyDescription=head": 2,
    f"StudyInstanceUID={STUDY},{SECOND},{FOREIGN}": 2,
    f"StudyInstanceUID={FOREIGN}": 0,
}


def test_matching(api: Api, study: dict[str, Sample], second: str, foreign: str) -> None:
    for query, count in MATCHES.items():
        found = studies_in(api.get(f"studies?{query}"))
        assert len(found) == count, query
        assert FOREIGN not in found


def test_a_filter_that_contradicts_the_path_finds_nothing(api: Api, study: dict[str, Sample], second: str) -> None:
    assert api.get(f"studies/{STUDY}/series?StudyInstanceUID={second}").json() == []
    assert len(api.get(f"studies/{STUDY}/series?StudyInstanceUID={second},{STUDY}").json()) == 4


def test_pages_and_the_warning_that_more_exist(api: Api, study: dict[str, Sample], second: str) -> None:
    first = api.get("studies?limit=1")
    assert studies_in(first) == [STUDY]
    assert first["Warning"].startswith("299 ")
    rest = api.get("studies?limit=1&offset=1")
    assert studies_in(rest) == [second]
    assert "Warning" not in rest
    assert studies_in(api.get("studies?offset=2")) == []


def test_fields_that_only_the_metadata_holds_can_be_included(api: Api, study: dict[str, Sample]) -> None:
    asked = "includefield=Manufacturer,ImagePositionPatient"
    [series] = api.get(f"studies/{STUDY}/series?Modality=CT&{asked}").json()
    assert series["00080070"]["Value"] == ["GE MEDICAL SYSTEMS"]
    assert "00200032" not in series, "attributes of instances are not returned for a series"
    instances = api.get(f"studies/{STUDY}/series/{CT_SERIES}/instances?{asked}").json()
    assert all({"00080070", "00200032"} <= one.keys() for one in instances)
    everything = api.get(f"studies/{STUDY}/series/{CT_SERIES}/instances?includefield=all").json()
    assert all(len(one) > 100 for one in everything)
    assert everything[0]["7FE00010"]["BulkDataURI"].startswith("http://testserver/c/alpha/dicomweb/studies/")


def test_results_in_several_parts(api: Api, study: dict[str, Sample], second: str) -> None:
    response = api.get("studies", 'multipart/related; type="application/dicom+json"')
    assert [content_type for content_type, _ in parts_of(response)] == ["application/dicom+json"] * 2


@pytest.mark.parametrize(
    "accept", ['multipart/related; type="application/dicom+xml"', "application/dicom+xml", "text/html"]
)
def test_other_formats_are_not_acceptable(api: Api, accept: str) -> None:
    response = api.get("studies", accept)
    assert response.status_code == 406
    assert response.json()["code"] == "not-acceptable"


def test_what_cannot_be_matched_is_refused(api: Api, study: dict[str, Sample]) -> None:
    response = api.get("studies?PatientsName=Nobody")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"


def test_a_limited_member_finds_only_what_was_granted(
    as_browser: Api, bob: User, clinic_a: Clinic, study: dict[str, Sample], second: str
) -> None:
    with clinic_scope(clinic_a):
        granted = Study.objects.get(study_instance_uid=second)
    membership = Membership.objects.get(user=bob)
    membership.is_limited = True
    membership.save()
    Grant.objects.create(membership=membership, kind=Grant.Kind.STUDY, reference=granted.public_id)
    for query in ("", "?PatientID=P-17", f"?StudyInstanceUID={STUDY},{second}"):
        assert studies_in(as_browser.get(f"studies{query}")) == [second]
    assert {one["0020000D"]["Value"][0] for one in as_browser.get("instances").json()} == {second}
    assert as_browser.get(f"studies/{STUDY}/series").status_code == 404


def test_each_search_is_on_record_without_its_values_AUD_01(api: Api, study: dict[str, Sample]) -> None:
    response = api.get("studies?PatientName=M%C3%BCller*&StudyDate=20260101-")
    event = AuditEvent.objects.get(verb="study.searched")
    assert response["X-Audit-Id"] == event.public_id
    assert event.additional_data == {
        "source": "dicomweb",
        "level": "studies",
        "fields": ["patientname", "studydate"],
        "result_count": 1,
    }
    assert response["Cache-Control"] == "no-store"


def test_a_browser_gets_paths_on_its_own_origin(as_browser: Api, study: dict[str, Sample]) -> None:
    [found] = as_browser.get("studies").json()
    assert found["00081190"]["Value"] == [f"/c/alpha/dicomweb/studies/{STUDY}"]


def test_strangers_are_told_to_bring_a_token(study: dict[str, Sample]) -> None:
    response = Client().get("/c/alpha/dicomweb/studies")
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
