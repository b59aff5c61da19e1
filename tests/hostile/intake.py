"""Sending cases through the real doors, and what must be true whatever they were."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

from django.test import Client
from django.urls import reverse

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.ingest.models import Upload
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies.models import Instance
from tests.hostile.cases import Case
from tests.hostile.raw import EXPLICIT
from tests.ingest.files import part10

AT_ONCE = 60


def send_form(
    client: Client, slug: str, cases: Sequence[Case], *, is_awaited: bool = True, **begin: str
) -> list[Upload]:
    """Upload the cases with the page's own requests, good files beside them, and work off what follows."""
    answer = client.post(reverse("upload-begin", args=[slug]), begin)
    assert answer.status_code == 201, answer.content
    begun = answer.json()
    good = part10()
    for start in range(0, len(cases), AT_ONCE):
        parts = [(f"c{start + n}", case.name, case.make()) for n, case in enumerate(cases[start : start + AT_ONCE])]
        body, content_type = page_body([*parts, (f"good{start}", "good", good)])
        response = client.post(begun["urls"]["store"], body, content_type, headers={"Sec-Fetch-Site": "same-origin"})
        assert response.status_code in (200, 202, 409), response.content
    process_until_idle()
    uploads = {upload.client_key: upload for upload in batch_of(begun["batch"]) if upload.client_key}
    for start in range(0, len(cases) if is_awaited else 0, AT_ONCE):
        assert uploads[f"good{start}"].state in ("stored", "duplicate"), "the good file beside them was not stored"
    return [uploads[f"c{n}"] for n in range(len(cases))]


def page_body(parts: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """A request as the upload page makes it: the sender's key, the file's name and the bytes of each part."""
    body = b""
    for key, name, data in parts:
        head = ["--b", "Content-Type: application/dicom", f"Content-ID: <{key}>", f"Content-Location: {quote(name)}"]
        body += "\r\n".join([*head, "", ""]).encode() + data + b"\r\n"
    return body + b"--b--\r\n", 'multipart/related; type="application/dicom"; boundary=b'


def send_large(client: Client, slug: str, cases: Sequence[Case]) -> list[Upload]:
    """Upload the cases as the page sends archives and large files (tus), one good file beside them."""
    begun = client.post(reverse("upload-begin", args=[slug])).json()
    for number, case in enumerate([*cases, Case("good", part10, "stored")]):
        data = case.make()
        about = {"batch": begun["batch"], "key": f"c{number}", "filename": case.name}
        metadata = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in about.items())
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), "Upload-Metadata": metadata}
        url = reverse("upload-tus", args=[slug])
        response = client.post(url, data, "application/offset+octet-stream", headers=headers)
        assert response.status_code == 201, (case.name, response.content)
    process_until_idle()
    *uploads, good = sorted(
        (upload for upload in batch_of(begun["batch"]) if upload.client_key),
        key=lambda upload: int((upload.client_key or "c0")[1:]),
    )
    assert good.state == "stored", "the good file beside them was not stored"
    return uploads


def batch_of(public_id: str) -> list[Upload]:
    """Every upload of a batch."""
    with every_clinic():
        return list(Upload.objects.select_related("batch", "study").filter(batch__public_id=public_id).order_by("pk"))


def answers(uploads: Sequence[Upload]) -> list[str]:
    """What became of the uploads, in the words of the cases."""
    return [f"{upload.state} {upload.code}".strip() for upload in uploads]


def members_of(archive: Upload) -> Counter[str]:
    """How many members of an archive ended how."""
    with clinic_scope(archive.clinic):
        return Counter(answers(list(Upload.objects.filter(archive=archive))))


def wrong(cases: Sequence[Case], uploads: Sequence[Upload]) -> dict[str, tuple[str, str]]:
    """Each case that got another answer than it must: the one it must get, and the one it got."""
    pairs = zip(cases, answers(uploads), strict=True)
    return {case.name: (case.answer, got) for case, got in pairs if case.answer != got}


def assert_nothing_is_left(clinic: Clinic) -> None:
    """No job failed or waits, no file waits, nothing is in quarantine."""
    assert not Job.objects.exclude(state=Job.State.DONE).values_list("kind", "state", "error").first()
    with clinic_scope(clinic):
        assert not Upload.objects.filter(state=Upload.State.RECEIVED).exists()
        assert not Blob.objects.filter(state=Blob.State.QUARANTINED).exists()


def instances_in(clinic: Clinic) -> list[Instance]:
    """Everything that a clinic has stored, with its series and study."""
    with clinic_scope(clinic):
        return list(Instance.objects.select_related("series__study").order_by("pk"))


def look_at(client: Client, root: str, instances: Sequence[Instance], headers: dict[str, str]) -> list[tuple[str, int]]:
    """Ask for all that a viewer asks for, take it to its end, and return what was answered with a server error."""
    paths = set()
    for instance in instances:
        study = f"studies/{instance.series.study.study_instance_uid}"
        series = f"{study}/series/{instance.series.series_instance_uid}"
        one = f"{series}/instances/{instance.sop_instance_uid}"
        paths |= {f"{series}/metadata", f"{series}/thumbnail", f"{study}/instances", f"{one}/rendered"}
        if instance.transfer_syntax_uid != EXPLICIT:
            paths |= {f"{one}/frames/1", one, f"{one}/bulkdata/7FE00010"}
    failed = []
    for path in sorted(paths):
        response = client.get(f"{root}/{path}", headers=headers)
        if response.streaming:
            b"".join(response.streaming_content)
        if response.status_code >= 500:
            failed.append((path, response.status_code))
    return failed
