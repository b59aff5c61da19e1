"""What is taken along: the files byte for byte, whole or the part that is missing, under names for every medium."""

from __future__ import annotations

import io
import struct
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pycdlib import PyCdlib

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.layout import File, Layout
from apps.exports.models import Checksum
from apps.exports.services import Format, layout_of
from apps.exports.zip_layout import zip_layout
from apps.storage.models import Blob
from apps.storage.services import write_blob
from apps.studies.models import Document, Series, Study
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
        return Study.objects.select_related("patient", "clinic").get(study_instance_uid=uid("study"))


def url(study: Study) -> str:
    return reverse("study-download", args=["alpha", study.public_id])


def unzipped(content: bytes) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    return {name: archive.read(name) for name in archive.namelist()}


def from_disc(content: bytes, facade: str) -> dict[str, bytes]:
    disc = PyCdlib()
    disc.open_fp(io.BytesIO(content))
    found = {}
    for folder, _folders, files in disc.walk(**{facade: "/"}):
        for file in files:
            path, out = f"{folder.rstrip('/')}/{file}", io.BytesIO()
            disc.get_file_from_iso_fp(out, **{facade: path})
            found[path.lstrip("/").partition(";")[0].rstrip(".")] = out.getvalue()
    disc.close()
    return found


def layout(clinic: Clinic, kind: Format, series: list[Series] | None = None) -> Layout:
    with clinic_scope(clinic):
        studies = Study.objects.select_related("patient", "clinic").order_by("pk")
        return layout_of(clinic, studies, kind, series)


def whole(clinic: Clinic, laid: Layout) -> bytes:
    content = b"".join(laid.iterate(clinic))
    assert len(content) == laid.size_bytes
    return content


def test_a_study_comes_back_byte_for_byte(as_bob: Client, study: Study, contents: list[bytes]) -> None:
    response = as_bob.get(url(study))
    body = response.getvalue()
    files = unzipped(body)
    assert sorted(files[name] for name in files if name.startswith("DICOM/")) == sorted(contents)
    assert response["Content-Disposition"] == 'attachment; filename="alpha-study-20260115.zip"'
    assert int(response["Content-Length"]) == len(body)


def test_archive_and_disc_hold_the_same(clinic_a: Clinic, study: Study) -> None:
    files = unzipped(whole(clinic_a, layout(clinic_a, Format.ZIP)))
    disc = whole(clinic_a, layout(clinic_a, Format.ISO))
    assert from_disc(disc, "iso_path") == from_disc(disc, "joliet_path") == files
    assert {"DICOMDIR", "INDEX.HTM", "README.TXT"} < set(files)


def test_a_broken_transfer_goes_on_where_it_was(as_bob: Client, study: Study) -> None:
    for kind in ("zip", "iso"):
        first = as_bob.get(url(study), {"format": kind})
        body = first.getvalue()
        half = len(body) // 2
        rest = as_bob.get(url(study), {"format": kind}, headers={"Range": f"bytes={half}-", "If-Range": first["ETag"]})
        assert rest.status_code == 206
        assert rest["Content-Range"] == f"bytes {half}-{len(body) - 1}/{len(body)}"
        assert rest.getvalue() == body[half:]
        for asked, start, stop in (("0-0", 0, 1), ("-7", len(body) - 7, len(body)), ("5-4000", 5, 4001)):
            part = as_bob.get(url(study), {"format": kind}, headers={"Range": f"bytes={asked}"})
            assert part.getvalue() == body[start:stop], asked
        beyond = as_bob.get(url(study), {"format": kind}, headers={"Range": f"bytes={len(body)}-"})
        assert (beyond.status_code, beyond["Content-Range"]) == (416, f"bytes */{len(body)}")
        changed = as_bob.get(url(study), {"format": kind}, headers={"Range": "bytes=5-", "If-Range": '"other"'})
        assert (changed.status_code, changed.getvalue()) == (200, body)


def test_any_range_is_the_same_bytes(clinic_a: Clinic, study: Study) -> None:
    for kind in Format:
        body = whole(clinic_a, layout(clinic_a, kind))
        laid = layout(clinic_a, kind)
        for start in range(0, len(body), max(1, len(body) // 40)):
            assert b"".join(laid.iterate(clinic_a, start, start + 3000)) == body[start : start + 3000]


def test_taking_a_study_away_is_recorded_before_the_first_byte(as_bob: Client, study: Study) -> None:
    response = as_bob.get(url(study))
    event = AuditEvent.objects.get(verb="study.downloaded")
    assert response["X-Audit-Id"] == event.public_id
    assert event.details == {"format": "zip", "instance_count": 3}
    as_bob.get(url(study), headers={"Range": "bytes=9-"})
    assert AuditEvent.objects.filter(verb="study.downloaded").latest("pk").details["is_resumed"] is True


def test_a_series_and_a_patient_can_be_taken_alone(
    as_bob: Client, clinic_a: Clinic, study: Study, contents: list[bytes]
) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("mr1", study="another", series="another"))
        pet = Series.objects.get(modality="PT")
    one = unzipped(as_bob.get(reverse("series-download", args=["alpha", pet.public_id])).getvalue())
    assert [content for name, content in one.items() if name.startswith("DICOM/")] == [contents[2]]
    answer = as_bob.get(reverse("patient-download", args=["alpha", study.patient.public_id]))
    assert len([name for name in unzipped(answer.getvalue()) if name.startswith("DICOM/")]) == 4
    for verb in ("series.downloaded", "patient.downloaded"):
        assert AuditEvent.objects.get(verb=verb).patient_reference == study.patient.public_id


def test_an_unknown_format_is_not_there(as_bob: Client, study: Study) -> None:
    assert as_bob.get(url(study), {"format": "rar"}).status_code == 404


def test_checksums_are_kept_and_not_taken_again(
    clinic_a: Clinic, study: Study, django_assert_num_queries: object, contents: list[bytes]
) -> None:
    first = whole(clinic_a, layout(clinic_a, Format.ZIP))
    with clinic_scope(clinic_a):
        assert Checksum.objects.count() == len(contents)
    laid = layout(clinic_a, Format.ZIP)
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert whole(clinic_a, laid) == first


def test_every_name_fits_any_medium_and_names_nobody(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        blob = write_blob(clinic_a, "document", [b"%PDF-1.4 %%EOF"])
        Document.objects.create(clinic=clinic_a, study=study, blob=blob, title="Brief", media_type="application/pdf")
    files = unzipped(whole(clinic_a, layout(clinic_a, Format.ZIP)))
    assert files["DOCUMENT/DO000001.PDF"] == b"%PDF-1.4 %%EOF"
    for name in files:
        for part in name.split("/"):
            stem, _, extension = part.partition(".")
            assert 0 < len(stem) <= 8, name
            assert len(extension) <= 3, name
            assert set(stem + extension) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), name


def test_the_page_beside_them_tells_what_is_there_and_runs_nothing(clinic_a: Clinic, study: Study) -> None:
    page = unzipped(whole(clinic_a, layout(clinic_a, Format.ZIP)))["INDEX.HTM"].decode()
    assert study.patient.readable_name in page
    assert 'src="PICTURE/PI000001.JPG"' in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_blob_that_cannot_be_read_cuts_the_archive_short(clinic_a: Clinic, study: Study) -> None:
    with clinic_scope(clinic_a):
        laid = layout_of(clinic_a, [study], Format.ZIP)
        Blob.objects.filter(kind="instance").update(wrapped_key=None)
        for piece in laid.pieces:
            if isinstance(piece.source, Blob):
                piece.source.wrapped_key = None
    chunks = laid.iterate(clinic_a)
    with pytest.raises(Exception, match="destroyed"):
        b"".join(chunks)


def test_a_destroyed_image_is_left_out(clinic_a: Clinic, study: Study) -> None:
    layout(clinic_a, Format.ZIP)  # what is prepared for a series is there from its arrival on
    with clinic_scope(clinic_a):
        gone = Blob.objects.filter(kind="instance").earliest("pk")
        Blob.objects.filter(pk=gone.pk).update(state=Blob.State.DESTROYED, wrapped_key=None)
    files = unzipped(whole(clinic_a, layout(clinic_a, Format.ZIP)))
    assert len([name for name in files if name.startswith("DICOM/")]) == 2


def test_a_large_archive_says_so_in_its_long_form(clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.exports.zip_layout._LIMIT_32", 1000)
    at = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
    files = [File(f"F{number}", at, bytes([number]) * 700 * number) for number in range(1, 4)]
    with clinic_scope(clinic_a):
        laid = zip_layout(clinic_a, files)
    content = whole(clinic_a, laid)
    assert b"PK\x06\x06" in content
    assert b"PK\x06\x07" in content
    second = laid.pieces[0].length + 700 + laid.pieces[2].length
    assert content[second : second + 1400] == b"\x02" * 1400


def test_more_files_than_an_old_archive_counts(clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.exports.zip_layout._LIMIT_16", 100)
    at = datetime(2026, 1, 15, tzinfo=UTC)
    with clinic_scope(clinic_a):
        laid = zip_layout(clinic_a, [File(f"F{number}", at, b"x") for number in range(300)])
    content = whole(clinic_a, laid)
    entries, of_all = struct.unpack("<QQ", content[content.index(b"PK\x06\x06") + 24 :][:16])
    assert entries == of_all == 300
    assert struct.unpack("<HH", content[content.index(b"PK\x05\x06") + 8 :][:4]) == (100, 100)


def test_what_is_compressed_by_the_sender_stays_as_it_is(tmp_path: Path, clinic_a: Clinic, study: Study) -> None:
    archive = zipfile.ZipFile(io.BytesIO(whole(clinic_a, layout(clinic_a, Format.ZIP))))
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
