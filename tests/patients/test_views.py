from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.patients.models import Patient
from apps.studies.models import Study
from tests.studies.files import index, part10


def test_a_patients_studies_stand_in_time(as_bob: Client, clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        index(
            clinic_a,
            part10("a", study="a", series="a", StudyDate="20190105", StudyDescription="First"),
            part10("b", study="b", series="b", StudyDate="20240105", StudyDescription="Second"),
            part10("c", study="c", series="c", StudyDate="", StudyDescription="Undated"),
            part10("d", study="d", series="d", PatientID="P-99", PatientName="Schmidt^A", StudyDescription="Foreign"),
        )
        patient = Patient.objects.get(dicom_patient_id="P-17")
    response = as_bob.get(reverse("patient", args=["alpha", patient.public_id]))
    page = response.content.decode()
    assert page.index("Second") < page.index("First") < page.index("Undated")
    assert "Foreign" not in page
    event = AuditEvent.objects.get(verb="patient.viewed")
    assert event.patient_reference == patient.public_id
    assert response["X-Audit-Id"] == event.public_id


def test_a_doubt_about_identity_is_said_where_it_matters(as_bob: Client, clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("a", study="a", series="a"), part10("b", study="b", series="b", PatientName="Other^One"))
        study = Study.objects.select_related("patient").order_by("pk")[0]
    page = as_bob.get(reverse("patient", args=["alpha", study.patient.public_id])).content.decode()
    assert "Other, One" in page
    assert "another name or birth date" in page
    assert (
        "another name or birth date" in as_bob.get(reverse("study", args=["alpha", study.public_id])).content.decode()
    )
    assert "Identity in doubt" in as_bob.get(reverse("worklist", args=["alpha"])).content.decode()
