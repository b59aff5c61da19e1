"""An independent client: PyPI's dicomweb-client passes with every method it has."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from PIL import Image

from apps.accounts.roles import Scope
from apps.clinics.models import Clinic
from tests.dicomweb.conftest import CT_SERIES, FILES, MIXED_SERIES, STUDY, MakeClient, Sample, part10, stored_in, uid


@pytest.fixture
def client(transactional_db: None, dicomweb: MakeClient, clinic_a: Clinic, sample_files: dict[str, Sample]) -> Any:
    stored_in(clinic_a, sample_files)
    return dicomweb(clinic_a)


def value(result: dict[str, Any], keyword: str) -> Any:
    return result[DICOMwebClient.lookup_tag(keyword)]["Value"][0]


def test_searches(client: DICOMwebClient) -> None:
    [found] = client.search_for_studies(search_filters={"PatientID": "P-17"})
    assert value(found, "PatientName") == {"Alphabetic": "Müller^Jörg"}
    assert value(found, "NumberOfStudyRelatedInstances") == 13
    assert [value(one, "SeriesNumber") for one in client.search_for_series(STUDY)] == [1, 2, 3, 4]
    assert len(client.search_for_series()) == 4
    assert len(client.search_for_instances(STUDY, CT_SERIES)) == 3
    assert len(client.search_for_instances(STUDY)) == len(client.search_for_instances()) == 13


def test_searching_page_by_page_finds_everything_once(client: DICOMwebClient) -> None:
    found = client.search_for_instances(STUDY, limit=4, get_remaining=True)
    assert len({value(one, "SOPInstanceUID") for one in found}) == len(found) == 13


def test_retrieving_a_study_series_and_instance_gives_the_stored_pixels(
    client: DICOMwebClient, sample_files: dict[str, Sample]
) -> None:
    everything = [("application/dicom", "*")]
    assert len(client.retrieve_study(STUDY, media_types=everything)) == 13
    assert len(list(client.iter_study(STUDY, media_types=everything))) == 13
    assert len(client.retrieve_series(STUDY, CT_SERIES)) == 3
    assert len(list(client.iter_series(STUDY, MIXED_SERIES))) == 8
    for sample in sample_files.values():
        got = client.retrieve_instance(STUDY, sample.series, sample.sop_instance_uid)
        assert got.to_json_dict() == sample.dataset.to_json_dict()


def test_retrieving_without_a_transfer_syntax_gives_what_pydicom_decodes(
    client: DICOMwebClient, sample_files: dict[str, Sample]
) -> None:
    for name in ("jpeg2000", "jpegls", "rle", "implicit", "bigendian", "deflated"):
        sample = sample_files[name]
        [got] = [
            one for one in client.retrieve_series(STUDY, MIXED_SERIES) if one.SOPInstanceUID == sample.sop_instance_uid
        ]
        assert got.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert np.array_equal(got.pixel_array, sample.dataset.pixel_array), name


def test_metadata_of_study_series_and_instance(client: DICOMwebClient, sample_files: dict[str, Sample]) -> None:
    assert len(client.retrieve_study_metadata(STUDY)) == 13
    assert len(client.retrieve_series_metadata(STUDY, CT_SERIES)) == 3
    sample = sample_files["ct2"]
    got = client.retrieve_instance_metadata(STUDY, CT_SERIES, sample.sop_instance_uid)
    assert value(got, "SOPInstanceUID") == sample.sop_instance_uid
    expected = sample.dataset
    del expected.PixelData
    parsed = pydicom.Dataset.from_json({tag: element for tag, element in got.items() if "BulkDataURI" not in element})
    for keyword in ("Rows", "ImagePositionPatient", "PatientName", "RescaleSlope", "StudyDate"):
        assert parsed[keyword].value == expected[keyword].value


@pytest.mark.parametrize("name", ["ct1", "jpeg2000", "jpegls", "rle", "implicit", "bigendian", "deflated", "dose"])
def test_frames(client: DICOMwebClient, sample_files: dict[str, Sample], name: str) -> None:
    sample = sample_files[name]
    dataset = sample.dataset
    numbers = list(range(1, int(dataset.get("NumberOfFrames", 1)) + 1))
    octets = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    for retrieve in (client.retrieve_instance_frames, client.iter_instance_frames):
        frames = list(retrieve(STUDY, sample.series, sample.sop_instance_uid, numbers, media_types=octets))
        pixels = dataset.pixel_array.astype(dataset.pixel_array.dtype.newbyteorder("<"))
        assert b"".join(frames) == pixels.tobytes()
    assert len(client.retrieve_instance_frames(STUDY, sample.series, sample.sop_instance_uid, numbers)) == len(numbers)


def test_compressed_frames_come_as_stored(client: DICOMwebClient, sample_files: dict[str, Sample]) -> None:
    for name, media_type in (("jpegls", "image/jls"), ("jpeg2000", "image/jp2"), ("jpeg", "image/jpeg")):
        sample = sample_files[name]
        [frame] = client.retrieve_instance_frames(
            STUDY, sample.series, sample.sop_instance_uid, [1], media_types=(media_type,)
        )
        stored = next(pydicom.encaps.generate_frames(sample.dataset.PixelData, number_of_frames=1))
        assert frame == stored


def test_bulk_data_is_found_where_the_metadata_says(client: DICOMwebClient, sample_files: dict[str, Sample]) -> None:
    sample = sample_files["ct1"]
    metadata = client.retrieve_instance_metadata(STUDY, sample.series, sample.sop_instance_uid)
    url = metadata["7FE00010"]["BulkDataURI"]
    assert url == urljoin(client.base_url, url), "a token's client gets absolute URIs"
    assert client.retrieve_bulkdata(url) == [sample.dataset.PixelData]
    assert list(client.iter_bulkdata(url)) == [sample.dataset.PixelData]
    assert client.retrieve_bulkdata(
        url, media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),), byte_range=(4, 11)
    ) == [sample.dataset.PixelData[4:12]]


def test_pictures(client: DICOMwebClient, sample_files: dict[str, Sample]) -> None:
    sample = sample_files["rle"]
    arguments = (STUDY, sample.series, sample.sop_instance_uid)
    pictures = [
        client.retrieve_series_rendered(STUDY, CT_SERIES),
        client.retrieve_series_rendered(STUDY, CT_SERIES, media_types=("image/jpeg",), params={"quality": 80}),
        client.retrieve_instance_rendered(*arguments),
        client.retrieve_instance_rendered(*arguments, media_types=("image/png",), params={"viewport": "50,50"}),
        client.retrieve_instance_frames_rendered(*arguments, [2], media_types=("image/png",)),
    ]
    assert [Image.open(io.BytesIO(one)).format for one in pictures] == ["JPEG", "JPEG", "JPEG", "PNG", "PNG"]
    assert Image.open(io.BytesIO(pictures[3])).size == (50, 50)


def test_storing(client: DICOMwebClient) -> None:
    study, series = uid("another study"), uid("another series")
    contents = [part10("MR_small.dcm", f"new{number}", series, study=study) for number in range(3)]
    response = client.store_instances([pydicom.dcmread(io.BytesIO(content)) for content in contents])
    assert [item.ReferencedSOPInstanceUID for item in response.ReferencedSOPSequence] == [
        uid(f"new{number}") for number in range(3)
    ]
    assert "FailedSOPSequence" not in response
    assert len(client.search_for_instances(study)) == 3
    # Once more, and into its own study: the same instances are recognised.
    client.store_instances([pydicom.dcmread(io.BytesIO(contents[0]))], study_instance_uid=study)
    assert len(client.search_for_instances(study)) == 3


def test_a_token_that_only_reads_cannot_store(client: DICOMwebClient, dicomweb: MakeClient, clinic_a: Clinic) -> None:
    reader = dicomweb(clinic_a, Scope.READ)
    with pytest.raises(requests.HTTPError, match="403"):
        reader.store_instances([pydicom.dcmread(FILES / "MR_small.dcm")])


def test_another_clinics_client_finds_nothing(client: DICOMwebClient, dicomweb: MakeClient, clinic_b: Clinic) -> None:
    stranger = dicomweb(clinic_b)
    assert stranger.search_for_studies() == []
    with pytest.raises(requests.HTTPError, match="404"):
        stranger.retrieve_study_metadata(STUDY)


def test_nothing_is_deleted_over_dicomweb(client: DICOMwebClient) -> None:
    with pytest.raises(requests.HTTPError, match="405"):
        client.delete_study(STUDY)
    assert len(client.search_for_studies()) == 1
