"""What happens to single attributes, and what is refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from apps.dicom.deidentify import (
    CleanedPixels,
    Mapper,
    NeedsReviewError,
    PixelJob,
    Profile,
    Result,
    deidentify,
    preset,
)
from apps.dicom.errors import Code, IgnoredError, RejectedError
from tests.dicom import files

CT = "1.2.840.10008.5.1.4.1.1.2"
KEY = b"0123456789abcdef"


def ct(**more: object) -> Dataset:
    made = files.grey(4, 4, bits=16, SOPClassUID=CT, Modality="CT", PatientName="Zellweger^Karoline")
    made.PatientID, made.PatientBirthDate = "MRN-884-2193", "19570314"
    made.StudyDate, made.StudyTime = "20190411", "101530"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def run(made: Dataset, profile: Profile | str = "research", **options: object) -> Dataset:
    return dcmread(io.BytesIO(result(made, profile, **options).data))


def result(made: Dataset, profile: Profile | str = "research", **options: object) -> Result:
    chosen = preset(profile) if isinstance(profile, str) else profile
    syntax = options.pop("syntax", ExplicitVRLittleEndian)
    return deidentify(files.part10(made, syntax), chosen, KEY, **options)  # type: ignore[arg-type]


def test_it_says_what_was_done() -> None:
    made = run(ct())
    assert made.PatientIdentityRemoved == "YES"
    assert made.DeidentificationMethod[0] == "PS3.15 2026d E.1-1"
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113103", "113104", "113105", "113107", "113108", "113111"]
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    assert run(ct(), "teaching").LongitudinalTemporalInformationModified == "REMOVED"


def test_names_and_numbers_become_pseudonyms_and_dates_move_together() -> None:
    made = run(ct(SeriesDate="20190413", AccessionNumber="A77", PatientAge="093Y"))
    mapper = Mapper(KEY)
    assert made.PatientID == made.PatientName == mapper.label("patient", "MRN-884-2193")
    assert made.PatientBirthDate == ""
    assert made.PatientAge == "090Y"
    assert int(made.SeriesDate) - int(made.StudyDate) in (2, 72, 73)
    assert made.StudyDate != "20190411"
    assert len(made.AccessionNumber) == 14


def test_a_study_just_after_midnight_keeps_its_date_and_time_together() -> None:
    made = run(ct(StudyDate="20190411", StudyTime="000005", SeriesDate="20190411", SeriesTime="235900"))
    assert int(made.SeriesDate) > int(made.StudyDate) or made.SeriesDate[6:] == "01"


def test_options_are_switches() -> None:
    made = ct(StationName="CT-7", DeviceSerialNumber="77123", InstitutionName="St. Elsewhere", PatientWeight="71")
    plain = run(made, Profile())
    assert plain.DeviceSerialNumber == "REMOVED"
    assert "PatientWeight" not in plain
    assert plain.StudyDate == ""
    kept = run(
        made,
        Profile(
            retain_device_identity=True,
            retain_institution_identity=True,
            retain_patient_characteristics=True,
            retain_longitudinal_full_dates=True,
            retain_uids=True,
        ),
    )
    assert (kept.StationName, kept.DeviceSerialNumber, kept.InstitutionName) == ("CT-7", "77123", "St. Elsewhere")
    assert kept.PatientWeight == 71
    assert kept.StudyDate == "20190411"
    assert kept.SOPInstanceUID == made.SOPInstanceUID


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_byte_order_keeps_its_numbers_and_pixels(syntax: object) -> None:
    values = np.arange(16, dtype=">u2" if syntax == ExplicitVRBigEndian else "<u2").reshape(4, 4)
    made = ct(SliceThickness="1.5", PixelData=values.tobytes())
    after = run(made, syntax=syntax)
    assert after.Rows == 4
    assert after.SliceThickness == 1.5
    assert after.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(after.pixel_array, np.arange(16).reshape(4, 4))


def test_unused_bits_and_trailing_bytes_of_pixels_are_emptied() -> None:
    made = ct(BitsStored=12, HighBit=11)
    made.PixelData = struct.pack("<16H", *(0x5000 | number for number in range(16))) + b"ZELLWEGER "
    after = run(made)
    assert after.PixelData == struct.pack("<16H", *range(16))
    signed = ct(BitsStored=12, HighBit=11, PixelRepresentation=1)
    signed.PixelData = struct.pack("<16h", *range(-8, 8))
    assert run(signed).PixelData == signed.PixelData


def test_codes_of_public_schemes_stay_and_those_of_a_house_become_pseudonyms() -> None:
    def code(value: str, scheme: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    made = run(ct(ProcedureCodeSequence=Sequence([code("T-D1100", "SRT", "Head"), code("Z12", "99KLINIK", "Chest")])))
    public, own = made.ProcedureCodeSequence
    assert (public.CodeValue, public.CodingSchemeDesignator, public.CodeMeaning) == ("T-D1100", "SRT", "Head")
    assert own.CodeValue != "Z12"
    assert own.CodingSchemeDesignator == "99REMOVED"
    assert own.CodeMeaning == "Chest"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"EncapsulatedDocument": b"%PDF", "MIMETypeOfEncapsulatedDocument": "application/pdf"},
            "encapsulated-document",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.1"}, "spoken"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-declared"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "pixels-unchecked"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "pixels-unchecked"),
    ],
)
def test_what_only_a_person_can_judge_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(NeedsReviewError) as caught:
        run(ct(**change))
    assert (caught.value.code, caught.value.reason) == (Code.NEEDS_REVIEW, reason)


def test_a_codestream_that_cannot_be_walked_is_refused() -> None:
    from pydicom.encaps import encapsulate

    made = ct(PixelData=encapsulate([b"\xff\xd8\xff\xe0\x40\x00rest"]))
    made["PixelData"].VR = "OB"
    with pytest.raises(NeedsReviewError) as caught:
        run(made, syntax=JPEGBaseline8Bit)
    assert caught.value.reason == "unreadable-codestream"


def test_what_is_no_image_file_is_told_apart() -> None:
    with pytest.raises(RejectedError) as caught:
        deidentify(b"%PDF-1.4 something else", preset("research"), KEY)
    assert caught.value.code == Code.NOT_DICOM
    whole = files.part10(ct())
    with pytest.raises(RejectedError):
        deidentify(whole[:-20], preset("research"), KEY)
    directory = ct(DirectoryRecordSequence=Sequence([Dataset()]))
    with pytest.raises(IgnoredError):
        run(directory)


def test_garbage_behind_the_last_element_is_left_out() -> None:
    made = files.dataset(PatientName="Zellweger^Karoline", Modality="SR")
    data = files.part10(made)
    after = deidentify(data + b"Karoline Zellweger MRN 8842193 ", preset("research"), KEY)
    assert b"Karoline" not in after.data
    assert len(after.data) % 2 == 0


def test_a_pixel_cleaner_replaces_pixels_and_is_told_whom_to_look_for() -> None:
    seen: list[PixelJob] = []

    def clean(job: PixelJob) -> CleanedPixels:
        seen.append(job)
        return CleanedPixels(str(ExplicitVRLittleEndian), (b"\7\0" * 16,), 2, {0x00280004: "MONOCHROME1"})

    made = ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", BurnedInAnnotation="YES")
    done = result(made, pixel_cleaner=clean)
    after = dcmread(io.BytesIO(done.data))
    assert after.PixelData == b"\7\0" * 16
    assert after.PhotometricInterpretation == "MONOCHROME1"
    assert after.BurnedInAnnotation == "NO"
    assert (done.report.pixels, done.report.pixel_regions) == ("cleaned", 2)
    assert {"Zellweger", "Karoline", "MRN-884-2193", "19570314"} <= set(seen[0].words)
    assert seen[0].header.rows == 4


def test_head_images_are_flagged_because_a_face_can_be_rebuilt() -> None:
    done = result(ct(BodyPartExamined="HEAD"))
    assert done.report.warnings == ["recognizable-visual-features"]
    assert dcmread(io.BytesIO(done.data)).RecognizableVisualFeatures == "YES"
    assert result(ct(BodyPartExamined="KNEE")).report.warnings == []


def test_the_sop_class_stays_and_a_class_with_a_birth_date_in_it_does_not() -> None:
    assert run(ct()).SOPClassUID == CT
    assert run(ct(), "minimal").SOPClassUID == CT
    assert (
        run(ct(RelatedGeneralSOPClassUID="1.2.276.19570314.7"))["RelatedGeneralSOPClassUID"].value
        != "1.2.276.19570314.7"
    )


def test_a_record_number_in_pieces_is_no_defined_term() -> None:
    made = run(ct(PatientID="2797141", ScanOptions="27 971 41"))
    assert made.ScanOptions == "REMOVED"
    assert run(ct(ScanOptions="HELICAL MODE 27")).ScanOptions == "HELICAL MODE 27"
