"""Headers: what the sample set's manifest says is what is read."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from apps.dicom.errors import IgnoredError, RejectedError
from apps.dicom.parse import DEFER_BYTES, Header, parse_header
from apps.dicom.validate import validate
from tests.dicom import files, manifest


def parsed(data: bytes) -> Header:
    return parse_header(io.BytesIO(data))


@manifest.each(manifest.instances())
def test_header_agrees_with_the_manifest(row: dict[str, str], samples: Path) -> None:
    with (samples / row["path"]).open("rb") as file:
        header = parse_header(file)
    assert header.modality == row["modality"]
    assert header.manufacturer == row["manufacturer"]
    assert header.sop_class_uid == row["sop_class"]
    assert header.transfer_syntax_uid == row["transfer_syntax"]
    assert header.photometric_interpretation == row["photometric"]
    assert header.dicom_patient_id == row["patient_id"]
    assert header.study_instance_uid == row["study_uid"]
    assert header.series_instance_uid == row["series_uid"]
    assert header.sop_instance_uid == row["sop_uid"]
    assert text(header.rows) == row["rows"]
    assert text(header.columns) == row["cols"]
    assert text(header.bits_stored) == row["bits_stored"]
    assert header.number_of_frames == int(row["frames"] or 1)
    assert (header.study_date.strftime("%Y%m%d") if header.study_date else "") == row["study_date"]
    assert header.has_pixels == (row["pixels_decode"] == "yes")
    # The manifest keeps the escape sequences of GB 2312 in the name; here they are gone.
    assert header.patient_name == row["patient_name"].replace("\x1b$)A", "").rstrip("=")


def text(number: int | None) -> str:
    return "" if number is None else str(number)


def test_pixels_are_never_read(samples: Path) -> None:
    class Counting(io.FileIO):
        consumed = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.consumed += len(data or b"")
            return cast(bytes, data)

    with Counting(samples / "07-xa/coronary-96-frames.dcm") as file:
        header = parse_header(cast(BinaryIO, file))
        assert header.number_of_frames == 96
        assert file.consumed < header.file_size / 50


def test_large_binary_values_stay_in_the_file_and_say_where() -> None:
    document = b"%PDF-1.7" + bytes(2 * DEFER_BYTES)
    header = parsed(files.part10(files.dataset(EncapsulatedDocument=document, DocumentTitle="Report")))
    place = header.dataset.places[0x00420011]
    assert "EncapsulatedDocument" not in header.dataset
    assert place.length == len(document)
    assert header.document_title == "Report"


def test_elements_behind_a_large_value_are_read_too() -> None:
    made = files.grey(2, 2, RedPaletteColorLookupTableData=bytes(DEFER_BYTES + 2), LossyImageCompression="01")
    assert parsed(files.part10(made)).dataset.LossyImageCompression == "01"


def test_elements_behind_the_pixels_are_read_and_padding_is_not_minded() -> None:
    data = files.part10(files.grey(2, 2, DataSetTrailingPadding=b"\0\0"))
    assert 0xFFFCFFFC in parsed(data).dataset
    assert parsed(data + bytes(500)).has_pixels


def test_dates_and_times_in_old_and_new_form() -> None:
    made = files.dataset(StudyTime="134512.250", SeriesDate="20240229", SeriesTime="0930", ContentDate="19991399")
    made.add_new(0x00080020, "DA", "1997.04.24")
    header = parsed(files.part10(made))
    assert header.study_date == datetime.date(1997, 4, 24)
    assert header.study_time == datetime.time(13, 45, 12, 250000)
    assert header.series_time == datetime.time(9, 30)
    assert header.content_date is None


def test_padding_and_nul_bytes_are_stripped() -> None:
    data = files.head() + files.element(0x00080060, "CS", b" CT\0\0") + files.element(0x00100020, "LO", b"  A 1 \0\0")
    header = parsed(data)
    assert header.modality == "CT"
    assert header.dicom_patient_id == "A 1"


def test_numbers_that_are_none_are_none() -> None:
    made = files.head() + files.element(0x00200011, "IS", b"one ") + files.element(0x00200013, "IS", b"7.0 ")
    header = parsed(made)
    assert header.series_number is None
    assert header.instance_number == 7


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_bare_data_set_without_preamble_is_read(syntax: UID) -> None:
    whole = files.part10(files.grey(2, 2), syntax)
    header = parsed(whole[whole.index(b"\x08\x00\x16\x00") :])
    assert header.transfer_syntax_uid == syntax
    assert not header.has_file_meta
    assert header.has_pixels
    validate(header)


def test_a_disc_index_is_ignored_UPL_05(samples: Path) -> None:
    with (samples / manifest.INDEX).open("rb") as file, pytest.raises(IgnoredError) as caught:
        parse_header(file)
    assert caught.value.code == "dicomdir"


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"%PDF-1.7\n" + bytes(400), b"\x89PNG\r\n\x1a\n" + bytes(400), b"\x7fELF" + bytes(400), b"PK\3\4" * 99],
    ids=["empty", "one byte", "pdf", "png", "elf", "zip"],
)
def test_what_is_not_dicom_is_refused_as_such_UPL_06(content: bytes) -> None:
    with pytest.raises(RejectedError) as caught:
        parsed(content)
    assert caught.value.code == "not-dicom"


def test_compressed_pixels_without_a_transfer_syntax_cannot_be_accepted() -> None:
    data = files.encapsulated([b"\xff\xd8\xff\xd9"], JPEGBaseline8Bit)
    with pytest.raises(RejectedError) as caught:
        parsed(data[data.index(b"\x08\x00\x16\x00") :])
    assert caught.value.code == "no-transfer-syntax"


def test_fewer_frames_than_declared_are_as_many_as_there_are() -> None:
    made = files.grey(2, 2, 2)
    made.NumberOfFrames = 9
    assert parsed(files.part10(made)).number_of_frames == 2


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"SOPInstanceUID": ""}, "no-uid"),
        ({"StudyInstanceUID": ""}, "no-uid"),
        ({"SeriesInstanceUID": "1.2.../../etc"}, "bad-uid"),
        ({"StudyInstanceUID": "1." + "2" * 64}, "bad-uid"),
        ({"SOPInstanceUID": "1.2.x"}, "bad-uid"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.39.1"}, "no-study"),
    ],
)
def test_an_instance_needs_its_uids_UPL_05(attributes: dict[str, str], code: str) -> None:
    with pytest.raises(RejectedError) as caught:
        validate(parsed(files.part10(files.dataset(**attributes))))
    assert caught.value.code == code


def test_validation_agrees_with_the_sample_set(samples: Path) -> None:
    refused = {}
    for row in manifest.instances():
        with (samples / row["path"]).open("rb") as file:
            try:
                validate(parse_header(file))
            except RejectedError as error:
                refused[Path(row["path"]).name] = error.code
    assert refused == {
        "colour-palette.dcm": "no-study",
        "1.2.840.10008.1.2.4.201-htj2k-lossless.dcm": "no-uid",
        "1.2.840.10008.1.2.4.203-htj2k.dcm": "no-uid",
        "1.2.840.10008.1.2.4.81-jpeg-ls-near.dcm": "no-uid",
    }
