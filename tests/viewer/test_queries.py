"""What of a study the viewer can show, and what it shows first; the rest is shown as text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from django.test import Client
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.sharing import services as sharing
from apps.storage.services import write_blob
from apps.studies.models import Instance, Series, Study
from apps.viewer.queries import contents, first_series, papers
from tests.sharing.conftest import principal_for, study

__all__ = ["study"]
pytestmark = pytest.mark.django_db

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, PDF, SR, SEG, RT, ECG = (STORAGE + suffix for suffix in ("2", "104.1", "88.33", "66.4", "481.3", "9.1.1"))
FINDING = "CANARY finding <script>alert(1)</script>"


def report() -> bytes:
    """A report of one line."""
    dataset, concept, item = Dataset(), Dataset(), Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SR, "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    concept.CodeMeaning = "Finding"
    item.ValueType, item.TextValue, item.ConceptNameCodeSequence = "TEXT", FINDING, [concept]
    dataset.ValueType, dataset.ContentSequence = "CONTAINER", [item]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def fill(study: Study, clinic: Clinic, objects: Sequence[tuple[str, int]]) -> None:
    """Give the study a series for each (SOP class, number of frames), numbered in this order."""
    with clinic_scope(clinic):
        for number, (sop_class_uid, frames) in enumerate(objects, 1):
            series = Series.objects.create(
                clinic=clinic, study=study, series_instance_uid=f"2.25.50.{number}", series_number=number
            )
            Instance.objects.create(
                clinic=clinic,
                series=series,
                blob=write_blob(clinic, "instance", [report()]),
                sop_instance_uid=f"2.25.60.{number}",
                sop_class_uid=sop_class_uid,
                transfer_syntax_uid=ExplicitVRLittleEndian,
                number_of_frames=frames,
            )


@pytest.mark.parametrize(
    ("objects", "first"),
    [
        ([(PDF, 0), (SEG, 3), (CT, 1), (CT, 1)], "2.25.50.3"),
        ([(CT, 1)], ""),
        ([(PDF, 0), (SR, 0)], ""),
    ],
)
def test_the_first_pictures_are_shown_first(
    study: Study, in_clinic_a: Clinic, objects: list[tuple[str, int]], first: str
) -> None:
    fill(study, in_clinic_a, objects)
    assert first_series(contents(study)) == first


@pytest.mark.parametrize(
    ("objects", "is_shown"),
    [
        ([(CT, 1)], True),
        ([(PDF, 0)], True),
        ([(ECG, 0)], True),
        ([(SR, 0), (CT, 1)], True),
        ([("1.2.3.4.5.6", 4)], True),
        ([(SR, 0)], False),
        ([(SEG, 3)], False),
        ([(RT, 0)], False),
        ([], False),
    ],
)
def test_the_viewer_is_opened_for_what_it_can_show(
    study: Study, in_clinic_a: Clinic, objects: list[tuple[str, int]], is_shown: bool
) -> None:
    fill(study, in_clinic_a, objects)
    assert any(content.is_shown for content in contents(study)) is is_shown


def test_reports_are_read_from_their_blobs(study: Study, in_clinic_a: Clinic) -> None:
    fill(study, in_clinic_a, [(SR, 0), (RT, 0)])
    written, plan = papers(study)
    assert [(item.name, item.value) for item in written.items] == [("Finding", FINDING)]
    assert plan.title == "RT Structure Set"
    assert plan.items == []


def test_a_study_of_reports_is_a_page_of_text_WEB_06(as_bob: Client, study: Study, clinic_a: Clinic) -> None:
    fill(study, clinic_a, [(SR, 0)])
    response = as_bob.get(f"/c/alpha/viewer/{study.public_id}/")
    page = response.content.decode()
    assert "CANARY finding &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "'unsafe-inline'" not in response["Content-Security-Policy"]
    assert AuditEvent.objects.get(public_id=response["X-Audit-Id"]).verb == "study.opened"


def test_a_recipient_reads_it_too(study: Study, clinic_a: Clinic, alice) -> None:
    fill(study, clinic_a, [(SR, 0)])
    with clinic_scope(clinic_a):
        made = sharing.share(principal_for(alice, clinic_a), [study], has_pin=False)
    visitor = Client()
    visitor.post(f"/s/{made.token}")
    response = visitor.get(f"/v/{made.share.link.public_id}/studies/{study.public_id}/")
    assert "CANARY finding" in response.content.decode()
    assert response["Referrer-Policy"] == "no-referrer"
