import io
import zipfile

import pytest
from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.archive import safe_name
from apps.exports.services import instances_of, study_zip
from apps.storage.models import Blob
from apps.storage.services import write_blob
from apps.studies.models import Document, Study
from tests.studies.files import index, part10, uid

EVIL = "../../etc/x<>:|\0ä\\..\r\n"


@pytest.fixture
def contents() -> list[bytes]:
    return [
        part10("ct1", InstanceNumber=1, SeriesDescription=EVIL, StudyDescription=EVIL),
        part10("ct2", InstanceNumber=2),
        part10("pt1", series="pet", SeriesNumber=2, Modality="PT"),
    ]


@pytest.fixture
def study(clinic_a: Clinic, contents: list[bytes]) -> Study:
    with clinic_scope(clinic_a):
        index(clinic_a, *contents)
        return Study.objects.select_related("patient").get(study_instance_uid=uid("study"))


def opened(content: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    return archive


def test_a_study_comes_back_byte_for_byte(as_bob: Client, study: Study, contents: list[bytes]) -> None:
    response = as_bob.get(reverse("study-download", args=["alpha", study.public_id]))
    archive = opened(b"".join(response.streaming_content))
    assert sorted(archive.read(name) for name in archive.namelist()) == sorted(contents)
    assert response["Content-Disposition"] == 'attachment; filename="alpha-study-20260115.zip"'


def test_taking_a_study_away_is_recorded_before_the_first_byte(as_bob: Client, study: Study) -> None:
    response = as_bob.get(reverse("study-download", args=["alpha", study.public_id]))
    event = AuditEvent.objects.get(verb="study.downloaded")
    assert response["X-Audit-Id"] == event.public_id
    assert event.details == {"format": "zip", "instance_count": 3}


def test_it_is_sent_after_the_clinics_scope_closed(clinic_a: Clinic, study: Study, contents: list[bytes]) -> None:
    with clinic_scope(clinic_a):
        sent = study_zip(instances_of([study]))
    assert len(opened(b"".join(sent)).namelist()) == len(contents)


def test_no_query_is_made_while_it_is_sent(
    clinic_a: Clinic, study: Study, django_assert_num_queries: object, contents: list[bytes]
) -> None:
    with clinic_scope(clinic_a):
        sent = study_zip(instances_of([study]))
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert b"".join(sent)


def test_no_name_leads_out_of_the_folder(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        names = opened(b"".join(study_zip(instances_of([study])))).namelist()
    assert len(set(names)) == len(names) == 3
    for name in names:
        assert name.isascii()
        assert all(part not in ("", ".", "..") and "\\" not in part for part in name.split("/"))
        assert name.count("/") == 2


def test_no_patient_is_named_by_the_archives_paths(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        assert "ller" not in " ".join(opened(b"".join(study_zip(instances_of([study])))).namelist())


def test_documents_go_with_it(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        blob = write_blob(clinic_a, "document", [b"%PDF-1.4 %%EOF"])
        Document.objects.create(clinic=clinic_a, study=study, blob=blob, title="Brief", media_type="application/pdf")
        documents = study.documents.select_related("study", "blob", "clinic")
        archive = opened(b"".join(study_zip(instances_of([study]), documents)))
    [name] = [name for name in archive.namelist() if "/documents/" in name]
    assert name.endswith("/documents/01-Brief.pdf")
    assert archive.read(name) == b"%PDF-1.4 %%EOF"


def test_several_studies_lie_in_a_folder_each(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("mr1", study="another", series="another"))
        names = opened(b"".join(study_zip(instances_of(Study.objects.order_by("pk"))))).namelist()
    assert len({name.split("/")[0] for name in names}) == 2


def test_a_blob_that_cannot_be_read_is_an_error_before_the_first_byte(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        rows = list(instances_of([study]))
        Blob.objects.filter(pk=rows[0].blob_id).update(state=Blob.State.DESTROYED, wrapped_key=None)
        with pytest.raises(Exception, match="destroyed"):
            study_zip(instances_of([study]))


def test_nothing_gives_an_empty_archive(clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        assert b"".join(study_zip([])) == b""


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ((3, "CT", "Schädel axial"), "3-CT-Schadel-axial"),
        (("..", "/"), "unnamed"),
        (("x" * 200,), "x" * 64),
        (("CON\0\r\n",), "CON"),
        ((None, ""), "unnamed"),
    ],
)
def test_names_mean_the_same_everywhere(parts: tuple[object, ...], name: str) -> None:
    assert safe_name(*parts) == name


def test_only_what_is_not_compressed_yet_is_compressed(clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1"), part10("jp2", series="jp2", source="MR_small_jp2klossless.dcm", SeriesNumber=2))
        plain, packed = opened(b"".join(study_zip(instances_of(Study.objects.all())))).infolist()
    assert plain.compress_size < plain.file_size
    assert packed.compress_size >= packed.file_size
