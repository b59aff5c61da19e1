"""WADO-RS: negotiation, exactness, and the records behind each byte."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pydicom
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image

from apps.accounts.roles import Scope
from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from tests.dicomweb.conftest import (
    CT_SERIES,
    MIXED_SERIES,
    REPORT_SERIES,
    STUDY,
    Api,
    Sample,
    body_of,
    part10,
    parts_of,
    store,
    token_for,
    uid,
)

pytestmark = pytest.mark.django_db

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
EXPLICIT = "1.2.840.10008.1.2.1"
ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("ct1", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        ("implicit", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        ("bigendian", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        ("deflated", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        ("jpeg2000", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ("jpegls", "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"),
        ("jpeg", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"),
        ("rle", "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
    ],
)
def test_ohif_gets_a_frame_named_by_its_transfer_syntax(
    api: Api, study: dict[str, Sample], name: str, content_type: str
) -> None:
    response = api.get(f"{study[name].path}/frames/1", OHIF)
    assert response.status_code == 200
    [(found_type, frame)] = parts_of(response)
    assert found_type == content_type
    if found_type.startswith("application/octet-stream"):
        assert frame == study[name].dataset.pixel_array.astype("<u1" if name == "deflated" else "<i2").tobytes()
    else:
        assert frame in bytes(study[name].dataset.PixelData)
    assert response["Content-Type"].startswith(f'multipart/related; type="{content_type.split(";")[0]}"; boundary=')


def test_a_list_of_frames_comes_in_the_order_asked_for(api: Api, study: dict[str, Sample]) -> None:
    response = api.get(f"{study['dose'].path}/frames/3,1,15", OHIF)
    pixels = study["dose"].dataset.pixel_array
    assert [frame for _, frame in parts_of(response)] == [pixels[number].tobytes() for number in (2, 0, 14)]


def test_a_frame_alone_comes_bare_to_who_asks_for_that(api: Api, study: dict[str, Sample]) -> None:
    response = api.get(f"{study['dose'].path}/frames/2", "application/octet-stream")
    assert response["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert response.content == study["dose"].dataset.pixel_array[1].tobytes()
    assert api.get(f"{study['dose'].path}/frames/1,2", "application/octet-stream").status_code == 406


def test_a_frame_is_packed_for_who_asks_for_that_alone(api: Api, study: dict[str, Sample]) -> None:
    url = f"{study['dose'].path}/frames/2"
    packing = {"Accept-Encoding": "gzip"}
    packed = api.get(f"{url}?encoding=gzip", "application/octet-stream", **packing)
    assert packed["Content-Encoding"] == "gzip"
    plain = api.get(url, "application/octet-stream", **packing)
    assert not plain.has_header("Content-Encoding")
    assert not api.get(f"{url}?encoding=gzip", "application/octet-stream").has_header("Content-Encoding")
    assert gzip.decompress(packed.content) == plain.content == study["dose"].dataset.pixel_array[1].tobytes()


def test_frame_lists_that_make_no_sense(api: Api, study: dict[str, Sample]) -> None:
    for frames in ("0", "x", "1,,2", "-1", "1;2"):
        assert api.get(f"{study['dose'].path}/frames/{frames}", OHIF).status_code == 400, frames


def test_frames_that_are_not_there(api: Api, study: dict[str, Sample]) -> None:
    assert api.get(f"{study['dose'].path}/frames/16", OHIF).status_code == 404
    assert api.get(f"{study['report'].path}/frames/1", OHIF).status_code == 404


@pytest.mark.parametrize(
    "accept", ['multipart/related; type="image/jpeg"', "text/html", 'multipart/related; type="video/mp4"']
)
def test_frames_are_not_compressed_on_demand(api: Api, study: dict[str, Sample], accept: str) -> None:
    response = api.get(f"{study['ct1'].path}/frames/1", accept)
    assert response.status_code == 406
    assert response.json()["code"] == "not-acceptable"


def test_hundreds_of_frames_ride_on_one_record_AUD_01(api: Api, study: dict[str, Sample]) -> None:
    answers = [api.get(f"{study['dose'].path}/frames/{number}", OHIF) for number in range(1, 16)]
    event = AuditEvent.objects.get(verb="series.viewed")
    assert {answer["X-Audit-Id"] for answer in answers} == {event.public_id}
    assert {answer["Cache-Control"] for answer in answers} == {"no-store"}
    assert {answer["X-Content-Type-Options"] for answer in answers} == {"nosniff"}


def test_a_frame_takes_few_queries(api: Api, study: dict[str, Sample]) -> None:
    path = f"{study['dose'].path}/frames/7"
    api.get(path, OHIF)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert api.get(path, OHIF).status_code == 200
    # The token, the instance with all above it, the covering record; keys where they are not at hand.
    assert len(queries) <= 6, [query["sql"][:80] for query in queries]


def test_without_a_record_there_is_not_a_byte_AUD_02(
    api: Api, study: dict[str, Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*args: object, **kwargs: object) -> None:
        raise AuditUnavailableError

    monkeypatch.setattr("apps.access.services.record", unavailable)
    monkeypatch.setattr("apps.access.services.covering_event", lambda **kwargs: None)
    paths = [
        "studies",
        "series",
        "instances",
        f"studies/{STUDY}/series",
        f"studies/{STUDY}/metadata",
        f"studies/{STUDY}/thumbnail",
        f"studies/{STUDY}/series/{CT_SERIES}/metadata",
        f"studies/{STUDY}/series/{CT_SERIES}/rendered",
        f"studies/{STUDY}/series/{CT_SERIES}/thumbnail",
        *(
            f"{study['ct1'].path}/{leaf}"
            for leaf in ("metadata", "frames/1", "rendered", "thumbnail", "bulkdata/7FE00010", "frames/1/rendered")
        ),
    ]
    for path in paths:
        response = api.get(path)
        assert response.status_code == 503, path
        assert b"ller" not in body_of(response)
    for path in (f"studies/{STUDY}", f"studies/{STUDY}/series/{CT_SERIES}", study["ct1"].path):
        assert api.get(path, ANY_DICOM).status_code == 503


def test_stored_bytes_come_back_bit_for_bit(api: Api, study: dict[str, Sample]) -> None:
    for sample in study.values():
        [(content_type, content)] = parts_of(api.get(sample.path, ANY_DICOM))
        syntax = sample.dataset.file_meta.TransferSyntaxUID
        assert content_type == f"application/dicom; transfer-syntax={syntax}"
        assert content == sample.content


def test_a_single_instance_comes_bare_to_who_asks_for_that(api: Api, study: dict[str, Sample]) -> None:
    response = api.get(study["ct1"].path, "application/dicom")
    assert response["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert body_of(response) == study["ct1"].content
    assert api.get(f"studies/{STUDY}", "application/dicom").status_code == 406


def test_the_default_is_explicit_little_endian_and_lossy_stays_as_it_is(api: Api, study: dict[str, Sample]) -> None:
    parts = parts_of(api.get(f"studies/{STUDY}/series/{MIXED_SERIES}", 'multipart/related; type="application/dicom"'))
    assert len(parts) == 8
    for content_type, content in parts:
        dataset = pydicom.dcmread(io.BytesIO(content))
        assert content_type == f"application/dicom; transfer-syntax={dataset.file_meta.TransferSyntaxUID}"
        [sample] = [one for one in study.values() if one.sop_instance_uid == dataset.SOPInstanceUID]
        expected = "1.2.840.10008.1.2.4.50" if sample.name == "jpeg" else EXPLICIT
        assert dataset.file_meta.TransferSyntaxUID == expected
        if sample.name != "jpeg":
            assert np.array_equal(dataset.pixel_array, sample.dataset.pixel_array)


def test_what_can_be_sent_only_in_part_is_206_and_nothing_at_all_is_406(api: Api, study: dict[str, Sample]) -> None:
    jpeg_ls = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80'
    response = api.get(f"studies/{STUDY}", jpeg_ls)
    assert response.status_code == 206
    assert [content for _, content in parts_of(response)] == [study["jpegls"].content]
    assert api.get(study["ct1"].path, jpeg_ls).status_code == 406


def test_metadata_is_gzipped_for_who_takes_it_and_plain_for_others(api: Api, study: dict[str, Sample]) -> None:
    path = f"studies/{STUDY}/series/{MIXED_SERIES}/metadata"
    packed = api.get(path, "application/dicom+json", **{"Accept-Encoding": "gzip, br"})
    assert packed["Content-Encoding"] == "gzip"
    plain = api.get(path, "application/dicom+json", **{"Accept-Encoding": "identity, gzip;q=0"})
    assert "Content-Encoding" not in plain
    assert plain["Content-Type"] == packed["Content-Type"] == "application/dicom+json"
    assert json.loads(gzip.decompress(packed.content)) == json.loads(plain.content)
    assert [one["00200013"]["Value"] for one in plain.json()] == [[number] for number in range(1, 9)]


def test_every_reference_to_bulk_data_leads_somewhere(api: Api, study: dict[str, Sample]) -> None:
    text = api.get(f"studies/{STUDY}/metadata").content.decode()
    found: list[str] = []

    def collect(node: object) -> None:
        if isinstance(node, dict):
            found.extend([node["BulkDataURI"]] if "BulkDataURI" in node else [])
            node = list(node.values())
        if isinstance(node, list):
            for one in node:
                collect(one)

    collect(json.loads(text))
    assert len(found) > 10
    for url in found:
        path = url.removeprefix("http://testserver/c/alpha/dicomweb/")
        assert path != url
        response = api.get(path, 'multipart/related; type="*/*"')
        assert response.status_code == 200, url
        assert parts_of(response)[0][1]


def test_bulk_data_in_pieces(api: Api, study: dict[str, Sample]) -> None:
    pixels = bytes(study["ct1"].dataset.PixelData)
    path = f"{study['ct1'].path}/bulkdata/7FE00010"
    whole = api.get(path)
    assert (whole.status_code, body_of(whole)) == (200, pixels)
    assert whole["Accept-Ranges"] == "bytes"
    end = len(pixels) - 1
    for asked, first, last in (("bytes=0-9", 0, 9), ("bytes=100-", 100, end), ("bytes=-5", end - 4, end)):
        response = api.get(path, Range=asked)
        assert response.status_code == 206
        assert response["Content-Range"] == f"bytes {first}-{last}/{len(pixels)}"
        assert body_of(response) == pixels[first : last + 1]
    assert api.get(path, Range=f"bytes={len(pixels)}-").status_code == 416
    assert api.get(path, Range="bytes=0-1,5-6").status_code == 200


def test_bulk_data_that_is_not_there(api: Api, study: dict[str, Sample]) -> None:
    asked = {"00100010/1": 400, "zz": 400, "99999999": 404, "00100010": 404, "7FE00010/1/00100010": 404}
    for path, status in asked.items():
        assert api.get(f"{study['ct1'].path}/bulkdata/{path}").status_code == status, path


def test_an_encapsulated_document_is_shown_as_pdf_and_nothing_else_is_WEB_05(api: Api, clinic_a: Clinic) -> None:
    pdf = b"%PDF-1.4\n%%EOF\n"
    for name, content in (("pdf", pdf), ("html", b"<script>alert(1)</script>")):
        store(
            clinic_a,
            [
                part10(
                    "test-SR.dcm",
                    name,
                    REPORT_SERIES,
                    SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
                    MIMETypeOfEncapsulatedDocument="application/pdf",
                    EncapsulatedDocument=content + b" " * (len(content) % 2),
                )
            ],
        )
    root = f"studies/{STUDY}/series/{REPORT_SERIES}/instances"
    shown = api.get(f"{root}/{uid('pdf')}/rendered", "application/pdf")
    assert (shown["Content-Type"], body_of(shown).strip()) == ("application/pdf", pdf.strip())
    assert api.get(f"{root}/{uid('pdf')}/bulkdata/00420011?accept=application/pdf")["Content-Type"] == "application/pdf"
    assert api.get(f"{root}/{uid('html')}/rendered", "application/pdf").status_code == 406
    assert api.get(f"{root}/{uid('html')}/bulkdata/00420011")["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("level", [f"studies/{STUDY}", f"studies/{STUDY}/series/{CT_SERIES}", ""])
def test_pictures_at_each_level(api: Api, study: dict[str, Sample], level: str) -> None:
    root = level or study["ct1"].path
    for leaf, kind in (
        ("rendered", "JPEG"),
        ("rendered?accept=image/png", "PNG"),
        ("thumbnail?viewport=256,256", "JPEG"),
    ):
        response = api.get(f"{root}/{leaf}", "*/*" if "accept=" in leaf else "")
        assert response.status_code == 200, response.content
        assert Image.open(io.BytesIO(body_of(response))).format == kind
        assert response["Content-Type"] == f"image/{kind.lower()}"


def test_the_window_changes_the_picture(api: Api, study: dict[str, Sample]) -> None:
    pictures = {
        api.get(f"{study['ct1'].path}/rendered?window={window}", "image/png").content
        for window in ("40,400,linear", "-600,1500,linear", "40,400,sigmoid")
    }
    assert len(pictures) == 3


def test_rendering_parameters_that_make_no_sense(api: Api, study: dict[str, Sample]) -> None:
    windows = ("window=1", "window=a,b,linear", "window=1,0,linear", "window=1,2,cubic")
    for query in (*windows, "viewport=0,5", "viewport=9", "quality=0"):
        assert api.get(f"{study['ct1'].path}/rendered?{query}").status_code == 400, query


def test_other_pictures_are_not_acceptable(api: Api, study: dict[str, Sample]) -> None:
    for accept in ("video/gif", "image/gif", "application/dicom"):
        assert api.get(f"{study['ct1'].path}/rendered", accept).status_code == 406
        assert api.get(f"{study['ct1'].path}/thumbnail", accept).status_code == 406


def test_what_has_no_picture(api: Api, study: dict[str, Sample]) -> None:
    assert api.get(f"{study['report'].path}/thumbnail").status_code == 404
    assert api.get(f"{study['report'].path}/rendered").status_code == 406


EVERY_PATH = [
    f"studies/{STUDY}",
    f"studies/{STUDY}/metadata",
    f"studies/{STUDY}/series",
    f"studies/{STUDY}/instances",
    f"studies/{STUDY}/rendered",
    f"studies/{STUDY}/thumbnail",
    f"studies/{STUDY}/series/{CT_SERIES}",
    f"studies/{STUDY}/series/{CT_SERIES}/metadata",
    f"studies/{STUDY}/series/{CT_SERIES}/instances",
    f"studies/{STUDY}/series/{CT_SERIES}/rendered",
    f"studies/{STUDY}/series/{CT_SERIES}/thumbnail",
    *(
        f"studies/{STUDY}/series/{CT_SERIES}/instances/{uid('ct1')}{leaf}"
        for leaf in (
            "",
            "/metadata",
            "/rendered",
            "/thumbnail",
            "/frames/1",
            "/frames/1/rendered",
            "/frames/1/thumbnail",
            "/bulkdata/7FE00010",
        )
    ),
]


def test_another_clinics_study_is_not_there(clinic_b: Clinic, study: dict[str, Sample]) -> None:
    stranger = Api(Client(), "/c/beta/dicomweb", {"Authorization": f"Bearer {token_for(clinic_b, Scope.READ)}"})
    outside = Api(Client(), "/c/alpha/dicomweb", stranger.headers)
    for path in EVERY_PATH:
        response = stranger.get(path)
        missing = stranger.get(path.replace(STUDY, "1.2.3"))
        assert (response.status_code, missing.status_code) == (404, 404), path
        assert response.content == missing.content
        beyond = outside.get(path)
        assert beyond.status_code == 404, path
        assert response["Content-Type"] == beyond["Content-Type"] == "application/json"


def test_an_instance_is_found_only_in_its_own_series(api: Api, study: dict[str, Sample]) -> None:
    for path in EVERY_PATH:
        assert api.get(path).status_code == 200, path
        if "/instances/" in path:
            assert api.get(path.replace(CT_SERIES, MIXED_SERIES)).status_code == 404, path


def test_errors_are_small_json_and_never_a_page(api: Api, as_browser: Api, study: dict[str, Sample]) -> None:
    asked = {
        "studies/1.2.3/metadata": 404,
        "studies?limit=x": 400,
        f"studies/{STUDY}/metadata?accept=text/html": 406,
        f"{study['ct1'].path}/frames/2": 404,
        "no/such/resource": 404,
    }
    for path, status in asked.items():
        for client in (api, as_browser):
            response = client.get(path)
            assert response.status_code == status, path
            assert response["Content-Type"] == "application/json"
            assert response.json().keys() == {"code", "message"}


def test_a_token_without_the_scope_or_no_longer_valid_reads_nothing(clinic_a: Clinic, study: dict[str, Sample]) -> None:
    writer = Api(Client(), "/c/alpha/dicomweb", {"Authorization": f"Bearer {token_for(clinic_a, Scope.WRITE)}"})
    assert writer.get(f"studies/{STUDY}/metadata").status_code == 403
    nobody = Api(Client(), "/c/alpha/dicomweb", {"Authorization": "Bearer vbx_nonsense"})
    assert nobody.get(f"studies/{STUDY}/metadata").status_code == 401


def test_a_video_is_streamed_and_can_be_sought(api: Api, clinic_a: Clinic) -> None:
    stream = bytes(range(256)) * 20
    dataset = pydicom.dcmread(io.BytesIO(part10("examples_ybr_color.dcm", "video", CT_SERIES)))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    out = io.BytesIO()
    dataset.save_as(out)
    store(clinic_a, [out.getvalue()])
    path = f"studies/{STUDY}/series/{CT_SERIES}/instances/{uid('video')}"
    for leaf in ("rendered", "bulkdata/7FE00010"):
        whole = api.get(f"{path}/{leaf}", "video/mp4")
        assert (whole.status_code, whole["Content-Type"], body_of(whole)) == (200, "video/mp4", stream)
        piece = api.get(f"{path}/{leaf}", "video/mp4", Range="bytes=1000-1009")
        assert (piece.status_code, body_of(piece)) == (206, stream[1000:1010])
    assert api.get(f"{path}/frames/1", OHIF).status_code == 406


def test_our_own_viewer_takes_metadata_as_it_is_stored(api: Api, study: dict[str, Sample]) -> None:
    path = f"studies/{STUDY}/series/{CT_SERIES}/metadata"
    stored = json.loads(body_of(api.get(f"{path}?bulkdata=relative", "application/dicom+json")))
    whole = json.loads(body_of(api.get(path, "application/dicom+json")))
    reference = stored[0]["7FE00010"]["BulkDataURI"]
    assert reference.startswith(f"studies/{STUDY}/")
    assert whole[0]["7FE00010"]["BulkDataURI"].endswith(f"/{reference}")
