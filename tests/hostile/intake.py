"""Sending cases through the real doors, and what must be true whatever they were."""

from __future__ import annotations

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
    body = b"".join(
        f"--b\r\nContent-Type: application/dicom\r\nContent-ID: <{key}>\r\nContent-Location: {quote(name)}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for key, name, data in parts
    )
    return body + b"--b--\r\n", 'multipart/related; type="application/dicom"; boundary=b'


def batch_of(public_id: str) -> list[Upload]:
    """Every upload of a batch."""
    with every_clinic():
        return list(Upload.objects.select_related("batch").filter(batch__public_id=public_id).order_by("pk"))


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


def look_at(client: Client, root: str, instance: Instance, headers: dict[str, str]) -> list[tuple[str, int]]:
    """Ask for everything that a viewer asks for; return what was answered with a server error."""
    series = instance.series
    path = (
        f"{root}/studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )
    failed = []
    for part in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010", "/bulkdata/00420011"):
        response = client.get(path + part, headers=headers)
        if response.streaming:
            b"".join(response.streaming_content)
        if response.status_code >= 500:
            failed.append((part, response.status_code))
    return failed
