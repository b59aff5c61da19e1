import gzip
import io
import json

import pytest
from PIL import Image

from apps.clinics.models import Clinic
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies import preparation
from apps.studies.errors import NoThumbnailError
from apps.studies.models import Instance, Series
from apps.studies.services import series_metadata, thumbnail
from tests.studies.files import REPORT, index, part10, uid


def the_series() -> Series:
    return Series.objects.select_related("study", "clinic", "metadata_blob", "thumbnail_blob").get(
        series_instance_uid=uid("series")
    )


def unpacked(content: bytes) -> list[dict]:
    return json.loads(gzip.decompress(content))


def test_the_job_prepares_metadata_and_thumbnail(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    process_until_idle()
    series = the_series()
    assert series.metadata_instance_count == series.thumbnail_instance_count == 1
    assert series.metadata_blob
    assert series.thumbnail_blob
    assert not series.is_preparation_queued


def test_metadata_holds_every_instance_in_order(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct2", InstanceNumber=2), part10("ct1", InstanceNumber=1))
    found = unpacked(series_metadata(the_series()))
    assert [one["00080018"]["Value"][0] for one in found] == [uid("ct1"), uid("ct2")]


def test_pixels_are_named_relative_to_the_root(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    [found] = unpacked(series_metadata(the_series()))
    expected = f"studies/{uid('study')}/series/{uid('series')}/instances/{uid('ct1')}/bulkdata/7FE00010"
    assert found["7FE00010"]["BulkDataURI"] == expected


def test_opening_a_prepared_series_reads_one_blob(in_clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    index(in_clinic_a, *[part10(f"ct{number}", InstanceNumber=number) for number in range(5)])
    process_until_idle()
    monkeypatch.setattr(preparation, "open_blob", lambda blob: pytest.fail("an instance was opened"))
    assert len(unpacked(series_metadata(the_series()))) == 5


def test_what_was_made_on_demand_is_kept(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    first = series_metadata(the_series())
    assert the_series().metadata_instance_count == 1
    assert series_metadata(the_series()) == first


def test_a_late_instance_makes_it_anew_and_the_old_bytes_go(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    process_until_idle()
    before = the_series().metadata_blob
    index(in_clinic_a, part10("ct2", InstanceNumber=2))
    assert len(unpacked(series_metadata(the_series()))) == 2
    process_until_idle()
    assert before
    assert Blob.objects.get(pk=before.pk).state == Blob.State.DESTROYED
    assert the_series().thumbnail_instance_count == 2


def test_metadata_that_cannot_be_read_is_made_anew(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("ct1"))
    process_until_idle()
    blob = the_series().metadata_blob
    assert blob
    header = bytes(blob.header)
    Blob.objects.filter(pk=blob.pk).update(header=header[:10] + bytes(byte ^ 1 for byte in header[10:]))
    assert [one["00080018"]["Value"][0] for one in unpacked(series_metadata(the_series()))] == [uid("ct1")]


def test_a_thumbnail_is_a_small_jpeg_of_the_middle(in_clinic_a: Clinic) -> None:
    index(in_clinic_a, *[part10(f"ct{number}", InstanceNumber=number) for number in (1, 2, 3)])
    picture = thumbnail(the_series())
    assert thumbnail(Instance.objects.get(sop_instance_uid=uid("ct2"))) == picture
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 256


def test_a_report_has_no_thumbnail(in_clinic_a: Clinic) -> None:
    [report] = index(in_clinic_a, part10("sr1", source=REPORT))
    with pytest.raises(NoThumbnailError):
        thumbnail(report)
    with pytest.raises(NoThumbnailError):
        thumbnail(the_series())


def test_pixels_that_nothing_decodes_are_tried_once(in_clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    index(in_clinic_a, part10("ct1"))
    tried: list[int] = []

    def fail(instance: Instance) -> bytes:
        tried.append(instance.pk)
        raise NoThumbnailError

    monkeypatch.setattr(preparation, "draw", fail)
    process_until_idle()
    with pytest.raises(NoThumbnailError):
        thumbnail(the_series())
    assert len(tried) == 1
