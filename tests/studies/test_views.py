import re

import pytest
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Grant, Membership, User
from apps.accounts.roles import Role
from apps.audit import services as audit_services
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.services import write_blob
from apps.studies.models import Document, Series, Study
from tests.conftest import make_person, signed_in
from tests.studies.files import REPORT, index, part10, uid

PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


@pytest.fixture
def study(clinic_a: Clinic) -> Study:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1"), part10("sr1", series="report", source=REPORT, SeriesNumber=2))
        return Study.objects.select_related("patient").get(study_instance_uid=uid("study"))


@pytest.fixture
def other_study(clinic_a: Clinic) -> Study:
    values = {"PatientName": "Schmidt^Anna", "PatientID": "P-99", "AccessionNumber": "A-99"}
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct9", study="other", series="other", **values))
        return Study.objects.select_related("patient").get(study_instance_uid=uid("other"))


@pytest.fixture
def document(clinic_a: Clinic, study: Study) -> Document:
    with clinic_scope(clinic_a):
        blob = write_blob(clinic_a, "document", [PDF])
        return Document.objects.create(
            clinic=clinic_a, study=study, blob=blob, title='Brief "ä"\r\nX: y', media_type="application/pdf"
        )


def last_event() -> AuditEvent:
    return AuditEvent.objects.order_by("pk").last()


def url(name: str, *arguments: str) -> str:
    return reverse(name, args=["alpha", *arguments])


def body(response) -> str:
    return (b"".join(response.streaming_content) if response.streaming else response.content).decode()


def test_the_worklist_lists_studies_and_is_audited(as_bob: Client, study: Study, other_study: Study) -> None:
    response = as_bob.get(url("worklist"))
    assert "Müller, Jörg" in body(response)
    assert "Schmidt, Anna" in body(response)
    event = last_event()
    assert response["X-Audit-Id"] == event.public_id
    assert (event.verb, event.details["result_count"]) == ("study.listed", 2)


def test_searching_finds_as_one_types_and_answers_with_the_list_alone(
    as_bob: Client, study: Study, other_study: Study
) -> None:
    response = as_bob.post(url("worklist"), {"words": "mül"}, headers={"HX-Request": "true"})
    assert "Müller, Jörg" in body(response)
    assert "Schmidt" not in body(response)
    assert "<html" not in body(response)


def test_searching_works_without_scripts(as_bob: Client, study: Study, other_study: Study) -> None:
    response = as_bob.post(url("worklist"), {"words": "P-99"})
    assert "<html" in body(response)
    assert "Schmidt, Anna" in body(response)
    assert "Müller, Jörg" not in body(response)


def test_what_was_looked_for_is_nowhere_in_the_trail_AUD_07(as_bob: Client, study: Study) -> None:
    as_bob.post(url("worklist"), {"words": "Müller", "modality": ["CT"], "first_date": "2026-01-01"})
    event = last_event()
    assert event.verb == "study.searched"
    assert event.details == {"page": 1, "result_count": 1, "fields": ["words", "first_date", "modality"]}


def test_words_never_travel_in_the_address(as_bob: Client, study: Study) -> None:
    assert "Müller, Jörg" in body(as_bob.get(url("worklist") + "?words=nobody"))


@pytest.mark.parametrize("nonsense", [{"first_date": "2026-1"}, {"page": "0"}, {"sort": "drop"}, {"modality": "XX"}])
def test_half_typed_fields_ask_for_nothing(as_bob: Client, study: Study, nonsense: dict[str, str]) -> None:
    assert "Müller, Jörg" in body(as_bob.post(url("worklist"), nonsense))


def test_an_empty_worklist_leads_to_the_upload(as_bob: Client, clinic_a: Clinic) -> None:
    assert url("upload") in body(as_bob.get(url("worklist")))


def test_the_study_page_shows_series_documents_and_ways_on(as_alice: Client, study: Study, document: Document) -> None:
    response = as_alice.get(url("study", study.public_id))
    shown = body(response)
    with clinic_scope(study.clinic):
        series = Series.objects.get(series_instance_uid=uid("series"))
        report = Series.objects.get(series_instance_uid=uid("report"))
    assert url("series-thumbnail", series.public_id) in shown
    assert url("series-thumbnail", report.public_id) not in shown
    for name in ("viewer", "share-create", "study-download", "study-views", "study-uploads"):
        assert url(name, study.public_id) in shown
    assert url("document", document.public_id) in shown
    assert response["X-Audit-Id"] == last_event().public_id
    assert (last_event().verb, last_event().study_reference) == ("study.viewed", study.public_id)


def test_who_has_seen_a_study_is_shown_to_whoever_may_read_the_trail(
    as_alice: Client, as_bob: Client, study: Study
) -> None:
    as_bob.get(url("study", study.public_id))
    assert "bob@alpha.example" in body(as_alice.get(url("study-views", study.public_id)))
    assert last_event().verb == "audit.viewed"
    assert as_bob.get(url("study-views", study.public_id)).status_code == 403
    assert url("study-views", study.public_id) not in body(as_bob.get(url("study", study.public_id)))


def test_one_visit_is_shown_once(as_alice: Client, as_bob: Client, study: Study) -> None:
    with clinic_scope(study.clinic):
        series = Series.objects.get(series_instance_uid=uid("series"))
    as_bob.get(url("study", study.public_id))
    as_bob.get(url("series-thumbnail", series.public_id))
    as_bob.get(url("study-download", study.public_id))
    shown = body(as_alice.get(url("study-views", study.public_id)))
    assert shown.count("Study viewed") == 1
    assert shown.count("Study downloaded") == 1
    assert "Series viewed" not in shown


def test_a_thumbnail_is_a_jpeg_and_nothing_else_WEB_05(as_bob: Client, study: Study) -> None:
    with clinic_scope(study.clinic):
        series = Series.objects.get(series_instance_uid=uid("series"))
    response = as_bob.get(url("series-thumbnail", series.public_id))
    assert response["Content-Type"] == "image/jpeg"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response.content.startswith(b"\xff\xd8\xff")
    assert response["X-Audit-Id"] == last_event().public_id
    assert last_event().verb == "thumbnails.viewed"


def test_a_series_that_cannot_be_drawn_has_no_thumbnail(as_bob: Client, study: Study) -> None:
    with clinic_scope(study.clinic):
        report = Series.objects.get(series_instance_uid=uid("report"))
    assert as_bob.get(url("series-thumbnail", report.public_id)).status_code == 404


def test_a_document_is_a_file_to_keep_in_a_sandbox_WEB_04_WEB_08(as_bob: Client, document: Document) -> None:
    response = as_bob.get(url("document", document.public_id))
    assert body(response).encode() == PDF
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == (
        "attachment; filename=\"Brief _ X y.pdf\"; filename*=UTF-8''Brief%20%C3%A4%20X%20y.pdf"
    )
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert last_event().verb == "document.viewed"


def test_a_document_of_a_strange_type_is_never_given_that_type_WEB_05(as_bob: Client, document: Document) -> None:
    with clinic_scope(document.clinic):
        Document.objects.filter(pk=document.pk).update(media_type="text/html")
    assert as_bob.get(url("document", document.public_id))["Content-Type"] == "application/octet-stream"


def without_request_id(page: str) -> str:
    return re.sub(r".*request-id.*", "", page)


def test_what_is_another_clinics_is_not_there_AUTHZ_01(
    as_charlie: Client, charlie: User, clinic_b: Clinic, study: Study, document: Document
) -> None:
    with clinic_scope(study.clinic):
        series = Series.objects.get(series_instance_uid=uid("series"))
    named = {"study": study, "patient": study.patient, "series-thumbnail": series, "document": document}
    for name, row in (named | {"study-views": study, "study-download": study}).items():
        foreign = as_charlie.get(reverse(name, args=["beta", row.public_id]))
        missing = as_charlie.get(reverse(name, args=["beta", "A" * 22]))
        assert foreign.status_code == missing.status_code == 404
        assert without_request_id(body(foreign)) == without_request_id(body(missing))
    assert "Müller" not in body(as_charlie.post(reverse("worklist", args=["beta"]), {"words": "mül"}))


def test_a_limited_member_sees_only_what_was_granted(
    clinic_a: Clinic, password_hash: str, study: Study, other_study: Study
) -> None:
    person = make_person("eve@alpha.example", "Eve", password_hash, clinic=clinic_a, role=Role.PHYSICIAN)
    membership = Membership.objects.get(user=person)
    membership.is_limited = True
    membership.save()
    Grant.objects.create(membership=membership, kind=Grant.Kind.STUDY, reference=study.public_id)
    browser = signed_in(person)
    listed = body(browser.get(url("worklist")))
    assert "Müller, Jörg" in listed
    assert "Schmidt" not in listed
    assert browser.get(url("study", study.public_id)).status_code == 200
    assert browser.get(url("study", other_study.public_id)).status_code == 404
    assert browser.get(url("patient", other_study.patient.public_id)).status_code == 404
    assert url("share-create", study.public_id) not in body(browser.get(url("study", study.public_id)))


def test_nothing_is_shown_when_it_cannot_be_recorded_AUD_02(
    as_bob: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError

    with clinic_scope(study.clinic):
        series = Series.objects.get(series_instance_uid=uid("series"))
    monkeypatch.setattr(audit_services, "insert_events", fail)
    for path in (
        url("worklist"),
        url("study", study.public_id),
        url("patient", study.patient.public_id),
        url("series-thumbnail", series.public_id),
        url("study-download", study.public_id),
    ):
        response = as_bob.get(path)
        assert response.status_code == 503
        assert "Müller" not in body(response)


PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7|add:7 }}{% csrf_token %}",
    "javascript:alert(1)",
    "</title><script>alert(1)</script>",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_a_header_says_is_text_on_every_page_WEB_06(as_alice: Client, clinic_a: Clinic, payload: str) -> None:
    keywords = ("PatientName", "PatientID", "PatientSex", "AccessionNumber", "StudyDescription", "Modality")
    more = ("SeriesDescription", "BodyPartExamined", "ReferringPhysicianName", "IssuerOfPatientID")
    values = dict.fromkeys((*keywords, *more), payload)
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1", **values))
        study = Study.objects.select_related("patient").get()
    pages = [url("worklist"), url("study", study.public_id), url("patient", study.patient.public_id)]
    for path in pages:
        shown = body(as_alice.get(path))
        assert not re.search(r"<script>|<img src=x|<svg onload|\" onmouseover|' onmouseover='", shown)
        assert 'href="javascript:' not in shown
        assert "14" not in re.findall(r"<h1>(.*?)</h1>", shown, re.DOTALL)


def test_pages_have_no_inline_script_or_style_WEB_01(as_alice: Client, study: Study) -> None:
    for path in (url("worklist"), url("study", study.public_id), url("patient", study.patient.public_id)):
        response = as_alice.get(path)
        shown = body(response)
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", shown)
        policy = response["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
