"""A study for the DICOMweb tests, made of the files that pydicom ships, and stored through the real pipeline."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from django.test import Client
from pydicom.uid import generate_uid

from apps.access.services import import_principal
from apps.accounts.roles import Scope
from apps.accounts.services import create_api_token
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import UploadBatch
from apps.ingest.services import open_batch, store_now

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
STUDY = generate_uid(entropy_srcs=["study"])
CT_SERIES = generate_uid(entropy_srcs=["ct"])
MIXED_SERIES = generate_uid(entropy_srcs=["mixed"])
REPORT_SERIES = generate_uid(entropy_srcs=["report"])


def uid(name: str) -> str:
    """The UID that a name stands for in these tests."""
    return generate_uid(entropy_srcs=[name])


def part10(file_name: str, name: str, series: str, **attributes: Any) -> bytes:
    """A Part 10 file: pydicom's file under a UID of its own, in a series of the test's study."""
    dataset = pydicom.dcmread(FILES / file_name)
    study = attributes.pop("study", STUDY)
    values = {
        "PatientName": "Müller^Jörg",
        "PatientID": "P-17",
        "PatientBirthDate": "19700131",
        "PatientSex": "M",
        "StudyInstanceUID": study,
        "StudyDate": "20260115",
        "StudyTime": "101530",
        "StudyID": "S1",
        "StudyDescription": "Head",
        "AccessionNumber": "A-4711",
        "ReferringPhysicianName": "House^Gregory",
        "SeriesInstanceUID": series,
        "SOPInstanceUID": uid(name),
        "SpecificCharacterSet": "ISO_IR 192",
    }
    for keyword, value in (values | attributes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@dataclass(frozen=True)
class Sample:
    """One instance of the test's study."""

    name: str
    series: str
    content: bytes

    @property
    def sop_instance_uid(self) -> str:
        return uid(self.name)

    @property
    def path(self) -> str:
        return f"studies/{STUDY}/series/{self.series}/instances/{self.sop_instance_uid}"

    @property
    def dataset(self) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.content))


def make_samples() -> dict[str, Sample]:
    """Three CT slices; one instance for each kind of transfer syntax; a report."""
    samples: dict[str, Sample] = {}

    def add(name: str, file_name: str, series: str, **attributes: Any) -> None:
        samples[name] = Sample(name, series, part10(file_name, name, series, **attributes))

    for number in (1, 2, 3):
        add(f"ct{number}", "CT_small.dcm", CT_SERIES, InstanceNumber=number, SeriesNumber=1, SeriesDescription="Axial")
    mixed: dict[str, Any] = {"SeriesNumber": 2, "Modality": "OT", "SeriesDescription": "Mixed"}
    files = {
        "jpeg2000": "MR_small_jp2klossless.dcm",
        "jpegls": "MR_small_jpeg_ls_lossless.dcm",
        "rle": "SC_rgb_rle_2frame.dcm",
        "jpeg": "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "implicit": "MR_small_implicit.dcm",
        "bigendian": "MR_small_bigendian.dcm",
        "deflated": "image_dfl.dcm",
        "dose": "rtdose.dcm",
    }
    for number, (name, file_name) in enumerate(files.items(), 1):
        add(name, file_name, MIXED_SERIES, InstanceNumber=number, **mixed)
    add("report", "test-SR.dcm", REPORT_SERIES, InstanceNumber=1, SeriesNumber=3)
    add("ecg", "waveform_ecg.dcm", uid("ecg series"), InstanceNumber=1, SeriesNumber=4)
    return samples


@pytest.fixture(scope="session")
def sample_files() -> dict[str, Sample]:
    return make_samples()


def store(clinic: Clinic, contents: Iterable[bytes]) -> None:
    """Store instances as an import does; every one has to be taken."""
    with clinic_scope(clinic):
        principal = import_principal(clinic, "tests")
        batch = open_batch(principal, UploadBatch.Source.IMPORT)
        outcomes = store_now(principal, batch, [iter([content]) for content in contents])
    assert {outcome.outcome for outcome in outcomes} == {"stored"}, outcomes


def stored_in(clinic: Clinic, files: dict[str, Sample]) -> dict[str, Sample]:
    store(clinic, [sample.content for sample in files.values()])
    return files


@pytest.fixture
def study(clinic_a: Clinic, sample_files: dict[str, Sample]) -> dict[str, Sample]:
    """The study stands in clinic A."""
    return stored_in(clinic_a, sample_files)


def token_for(clinic: Clinic, *scopes: Scope) -> str:
    _, secret = create_api_token(clinic, scopes, context=Context.system("tests"))
    return secret


MakeClient = Callable[..., DICOMwebClient]


@pytest.fixture
def dicomweb(live_server: Any, settings: Any) -> MakeClient:
    """A maker of independent clients (PyPI's dicomweb-client) that hold a token of a clinic."""
    settings.BASE_URL = live_server.url

    def make(clinic: Clinic, *scopes: Scope) -> DICOMwebClient:
        secret = token_for(clinic, *(scopes or (Scope.READ, Scope.WRITE)))
        return DICOMwebClient(
            url=f"{live_server.url}/c/{clinic.slug}/dicomweb",
            headers={"Authorization": f"Bearer {secret}"},
            # The test server knows no chunked bodies; tests/flows sends those to the real one.
            chunk_size=10**8,
        )

    return make


class Api:
    """A client without a network: requests under the DICOMweb root of clinic A, as a token's or a browser's."""

    def __init__(self, client: Client, root: str, headers: dict[str, str] | None = None) -> None:
        self.client, self.root, self.headers = client, root, headers or {}

    def get(self, path: str, accept: str = "", **headers: str) -> Any:
        sent = self.headers | ({"Accept": accept} if accept else {}) | headers
        return self.client.get(f"{self.root}/{path}", headers=sent)

    def post(self, path: str, body: bytes, content_type: str, **headers: str) -> Any:
        return self.client.post(
            f"{self.root}/{path}", data=body, content_type=content_type, headers=self.headers | headers
        )


@pytest.fixture
def api(clinic_a: Clinic) -> Api:
    """A token of clinic A with both scopes."""
    secret = token_for(clinic_a, Scope.READ, Scope.WRITE)
    return Api(Client(), f"/c/{clinic_a.slug}/dicomweb", {"Authorization": f"Bearer {secret}"})


@pytest.fixture
def as_browser(as_bob: Client, clinic_a: Clinic) -> Api:
    """Bob's browser."""
    return Api(as_bob, f"/c/{clinic_a.slug}/dicomweb")


def body_of(response: Any) -> bytes:
    """The whole body, streamed or not."""
    return b"".join(response.streaming_content) if response.streaming else response.content


def parts_of(response: Any) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer, read by the email package rather than by our own reader."""
    from email import message_from_bytes, policy

    head = f"Content-Type: {response['Content-Type']}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = message_from_bytes(head + body_of(response), policy=policy.HTTP)
    assert message.is_multipart(), response["Content-Type"]
    found = []
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        # The email package quotes what need not be quoted.
        found.append((str(part["Content-Type"]).replace('"', ""), payload))
    return found


def multipart_of(contents: Iterable[bytes], boundary: str = "b") -> tuple[bytes, str]:
    """A STOW-RS body and its Content-Type, written by hand rather than by our own writer."""
    body = b""
    for content in contents:
        body += f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f'multipart/related; type="application/dicom"; boundary={boundary}'
