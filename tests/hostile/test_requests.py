"""Hostile requests to the ways in: each is answered with a status of its own, never 500, leaving nothing (UPL-11)."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.roles import Scope
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies.models import Instance
from tests.dicomweb.conftest import token_for
from tests.ingest.files import part10

pytestmark = pytest.mark.django_db

RELATED = 'multipart/related; type="application/dicom"; boundary='


@dataclass(frozen=True)
class Request:
    """One hostile request: its body, type and headers, and how it may be answered."""

    name: str
    body: bytes
    content_type: str = f"{RELATED}b"
    statuses: tuple[int, ...] = (400,)
    headers: dict[str, str] = field(default_factory=dict)


def part(content: bytes, *headers: bytes, boundary: bytes = b"b") -> bytes:
    lines = headers or (b"Content-Type: application/dicom",)
    return b"--" + boundary + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + content + b"\r\n"


def stow_requests() -> Iterator[Request]:
    """Bodies of STOW-RS that are not what they say."""
    good, end = part10(), b"--b--\r\n"
    yield Request("nothing at all", b"", statuses=(415,))
    yield Request("no part", end)
    yield Request("only a boundary", b"--b\r\n")
    yield Request("no closing boundary", part(good))
    yield Request("cut in a part", part(good)[:-60])
    yield Request("cut in a header", b"--b\r\nContent-Ty")
    yield Request("no blank line behind the headers", b"--b\r\nContent-Type: application/dicom\r\n" + end)
    yield Request("a header without a colon", part(good, b"Content-Type application/dicom") + end)
    yield Request("a header of 100 kB", part(good, b"X: " + b"a" * 100_000) + end)
    yield Request("ten thousand headers", part(good, *[b"X-%d: y" % n for n in range(10_000)]) + end)
    yield Request("a boundary that goes on", b"--bb\r\n\r\n" + good + b"\r\n--bb--\r\n")
    yield Request("something behind the boundary", b"--b junk\r\n\r\n" + good + b"\r\n--b--\r\n")
    yield Request("a million boundaries", b"--b\r\n\r\n\r\n" * 3000 + end, statuses=(409, 400))
    yield Request("an endless preamble", b"x" * 3_000_000, statuses=(400,))
    yield Request("line feeds alone", part(good).replace(b"\r\n--b", b"\n--b").replace(b"\r\n", b"\n") + b"--b--\n")
    yield Request("no boundary named", part(good) + end, "multipart/related; type=application/dicom")
    yield Request("an empty boundary", part(good) + end, f'{RELATED}""')
    yield Request("a boundary of 200 letters", part(good) + end, RELATED + "b" * 200)
    yield Request("a boundary that is not ASCII", part(good) + end, RELATED + '"b\u00fc"')
    yield Request("a part of HTML", part(b"<html></html>", b"Content-Type: text/html") + end, statuses=(409,))
    yield Request("a part of nothing", part(b"") + end, statuses=(409,))
    yield Request("NULs for headers", part(good, b"\0\0: \0") + end, statuses=(200, 400))
    yield Request("a key of markup", part(good, b"Content-ID: <<script>>") + end, statuses=(200, 409))
    yield Request(
        "a name that walks", part(good, b"Content-Location: ../../../etc/passwd%00%0d%0a") + end, statuses=(200,)
    )
    yield Request("a name that is no UTF-8", part(good, b"Content-Location: %ff%fe\xff") + end, statuses=(200,))
    yield Request("a length that lies", part(good, b"Content-Length: 999999999") + end, statuses=(200,))
    yield Request("a part in Base64", part(good, b"Content-Transfer-Encoding: base64") + end, statuses=(200, 400, 409))
    yield Request("another type", part(good) + end, "multipart/form-data; boundary=b", (415,))
    yield Request("no type", good, "", (415, 400))
    yield Request("a type of rubbish", good, ";;;===\t", (415, 400))
    yield Request(
        "DICOM JSON", b'[{"00080018":{}}]', 'multipart/related; type="application/dicom+json"; boundary=b', (415,)
    )
    yield Request(
        "packed by gzip, it says", part(good) + end, headers={"Content-Encoding": "gzip"}, statuses=(200, 400, 415)
    )
    yield Request("a bare page", b"<html></html>", "application/dicom", (409,))
    yield Request("an answer of another kind", part(good) + end, headers={"Accept": "image/png"}, statuses=(406,))
    yield Request(
        "an Accept of rubbish", part(good) + end, headers={"Accept": ",;q=x,*/;/*" * 50}, statuses=(200, 400, 406)
    )


def test_stow_answers_every_request_UPL_02_UPL_11(clinic_a: Clinic) -> None:
    client, root = Client(raise_request_exception=False), "/c/alpha/dicomweb/studies"
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.WRITE)}"}
    requests = list(stow_requests())
    answers = {
        request.name: client.post(
            root, request.body, request.content_type, headers=headers | request.headers
        ).status_code
        for request in requests
    }
    told = {request.name: request.statuses for request in requests}
    assert {name: (told[name], got) for name, got in answers.items() if got not in told[name]} == {}
    paths = ["../../etc", "1.2..3", "a" * 70, "1.2.3%0d%0a", "%00", "1.2.3/instances"]
    for path in paths:
        answer = client.post(f"{root}/{path}", part(part10()) + b"--b--\r\n", f"{RELATED}b", headers=headers)
        assert answer.status_code in (403, 404, 405), path
    process_until_idle()
    with clinic_scope(clinic_a):
        assert not Blob.objects.filter(state=Blob.State.QUARANTINED).exists()
        assert not Upload.objects.filter(state=Upload.State.RECEIVED).exists()
        assert all(upload.name.isprintable() for upload in Upload.objects.all())
        stored = Instance.objects.count()
    answer = client.post(root, part(part10()) + b"--b--\r\n", f"{RELATED}b", headers=headers)
    assert answer.status_code == 200, "a good request after all these"
    with clinic_scope(clinic_a):
        assert Instance.objects.count() == stored + 1


def tus_requests(batch: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Uploads begun by tus whose headers lie."""

    def about(**values: str) -> str:
        return ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())

    named = {"Upload-Metadata": about(batch=batch, key="k", filename="a")}
    yield "no length", named, b""
    yield "a negative length", named | {"Upload-Length": "-5"}, b""
    yield "a length of letters", named | {"Upload-Length": "many"}, b""
    yield "a length of 80 digits", named | {"Upload-Length": "9" * 80}, b""
    yield "more than is taken", named | {"Upload-Length": str(1 << 50)}, b""
    yield "more bytes than announced", named | {"Upload-Length": "3"}, b"x" * 300
    yield "no batch", {"Upload-Length": "3", "Upload-Metadata": about(key="k")}, b"abc"
    yield "a batch that is none", {"Upload-Length": "3", "Upload-Metadata": about(batch="../..")}, b"abc"
    yield "metadata of rubbish", {"Upload-Length": "3", "Upload-Metadata": "batch !!!,, =,key \xff"}, b"abc"
    yield (
        "metadata of 50 kB",
        {"Upload-Length": "3", "Upload-Metadata": about(batch=batch, filename="n" * 40_000)},
        b"abc",
    )
    yield "a checksum of rubbish", named | {"Upload-Length": "3", "Upload-Checksum": "sha1 ###"}, b"abc"
    yield "a checksum that is wrong", named | {"Upload-Length": "3", "Upload-Checksum": "sha256 AAAA"}, b"abc"
    yield "a checksum nobody has", named | {"Upload-Length": "3", "Upload-Checksum": "rot13 AAAA"}, b"abc"
    yield "another version", named | {"Upload-Length": "3", "Tus-Resumable": "9.9"}, b"abc"
    yield "a deferred length", named | {"Upload-Defer-Length": "1"}, b"abc"
    yield "parts to be joined", named | {"Upload-Concat": "final;/a /b"}, b""


def test_tus_answers_every_request_UPL_01_UPL_11(as_alice: Client, clinic_a: Clinic) -> None:
    as_alice.raise_request_exception = False
    begun = as_alice.post(reverse("upload-begin", args=["alpha"])).json()
    url = reverse("upload-tus", args=["alpha"])
    answers = {}
    for name, headers, body in tus_requests(begun["batch"]):
        sent = {"Tus-Resumable": "1.0.0"} | headers
        answer = as_alice.post(url, body, "application/offset+octet-stream", headers=sent)
        answers[name] = answer.status_code
        where = answer.headers.get("Location")
        if where:
            for offset in ("-1", "x", "9" * 40, "2"):
                patch = {"Tus-Resumable": "1.0.0", "Upload-Offset": offset}
                again = as_alice.patch(where, b"zz", "application/offset+octet-stream", headers=patch)
                answers[f"{name}, then offset {offset}"] = again.status_code
    assert {name: status for name, status in answers.items() if status >= 500} == {}
    assert sum(status == 201 for status in answers.values()) < 8
    process_until_idle()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b'{"batch": {}}', b'{"batch": "x", "keys": 5}', b"\xff\xfe", b'{"keys": [[[]]]}',
        b"[" * 100_000, b'{"batch": "B", "instances": [["../../x", "many"]]}',
        b'{"batch": "B", "files": [["<b>", -1, ""]]}',
        json.dumps({"batch": "B", "keys": ["k"] * 50_000}).encode(), b'{"batch": "\\u0000", "keys": []}', b"1e999",
    ],
)  # fmt: skip
def test_questions_of_rubbish_are_refused_UPL_11(body: bytes, as_alice: Client, clinic_a: Clinic) -> None:
    as_alice.raise_request_exception = False
    batch = as_alice.post(reverse("upload-begin", args=["alpha"])).json()["batch"].encode()
    url = reverse("upload-have", args=["alpha"])
    answer = as_alice.post(url, body.replace(b'"B"', b'"' + batch + b'"'), "application/json")
    assert answer.status_code in (400, 404, 413), answer.content[:200]


NUL_PATHS = (
    "studies/%00/",
    "patients/a%00b/",
    "uploads/%00/",
    "documents/%00/picture/",
    "series/%00/papers/",
    "series/%00/papers/1.2%00/",
)


def test_no_address_and_no_field_with_a_nul_is_an_error_of_ours_UPL_11(as_alice: Client, clinic_a: Clinic) -> None:
    as_alice.raise_request_exception = False
    for path in NUL_PATHS:
        assert as_alice.get(f"/c/alpha/{path}").status_code in (400, 404), path
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.READ)}"}
    for query in ("PatientName=%00", "PatientID=a%00b", "StudyInstanceUID=1.2%00", "00100010=%00*", "limit=%00"):
        assert as_alice.get(f"/c/alpha/dicomweb/studies?{query}", headers=headers).status_code in (200, 204, 400), query
    begun = as_alice.post(reverse("upload-begin", args=["alpha"]), {"study": "\0", "patient": "a\0b"})
    assert begun.status_code in (400, 404)
    assert as_alice.post("/c/alpha/", {"q": "\0", "patient_name": "a\0"}).status_code in (200, 400)
    assert as_alice.get(reverse("upload", args=["alpha"]), {"study": "\0"}).status_code in (400, 404)
