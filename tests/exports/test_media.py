"""DCMTK, which knows nothing of us, opens what is taken along (PS3.10 File-sets)."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from pathlib import Path

import pydicom
import pytest

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import phantom
from apps.dicom.dicomdir import Entry, is_file_id, make_dicomdir, record_type
from apps.exports.services import Format, layout_of
from apps.studies.models import Study
from tests.studies.files import index, part10


@pytest.fixture
def medium(clinic_a: Clinic, tmp_path: Path) -> Path:
    """A CT, a cine and an image in JPEG 2000, unzipped."""
    with clinic_scope(clinic_a):
        jpeg2000 = part10("jp2", study="mr", series="jp2", source="MR_small_jp2klossless.dcm", SeriesNumber=2)
        index(clinic_a, *phantom.ct_head(3), phantom.cine(), jpeg2000)
        studies = Study.objects.select_related("patient", "clinic")
        content = b"".join(layout_of(clinic_a, studies, Format.ZIP).iterate(clinic_a))
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    return tmp_path


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "E: " not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_dcmtk_reads_the_directory_and_every_file_it_names_and_takes_it_for_its_own(medium: Path) -> None:
    assert_every_record_says_what_its_file_says(medium)
    directory = run("dcmdump", "DICOMDIR", cwd=medium)
    named = re.findall(r'refFileID="([^"]+)"', directory)
    files = sorted(str(path.relative_to(medium)) for path in (medium / "DICOM").rglob("IM*"))
    assert sorted(name.replace("\\", "/") for name in named) == files
    assert len(files) == 5
    for file in files:
        assert "SOPInstanceUID" in run("dcmdump", file, cwd=medium)
        assert run("dcmftest", file, cwd=medium).startswith("yes:")
    # dcmmkdir parses each record, checks it against the rest, adds a file and writes the whole again.
    (medium / "DICOM" / "EXTRA").write_bytes((medium / files[-1]).read_bytes())
    dataset = pydicom.dcmread(medium / "DICOM" / "EXTRA")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.save_as(medium / "DICOM" / "EXTRA")
    run("dcmmkdir", "-Pgp", "-Nxc", "+A", "DICOM/EXTRA", cwd=medium)
    assert run("dcmdump", "DICOMDIR", cwd=medium).count("refFileID=") == 6


def assert_every_record_says_what_its_file_says(medium: Path) -> None:
    directory = pydicom.dcmread(medium / "DICOMDIR")
    kinds = [record.DirectoryRecordType for record in directory.DirectoryRecordSequence]
    assert [kinds.count(kind) for kind in ("PATIENT", "STUDY", "SERIES", "IMAGE")] == [3, 3, 3, 5]
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            assert is_file_id(record.ReferencedFileID)
            file = pydicom.dcmread(medium.joinpath(*record.ReferencedFileID), stop_before_pixels=True)
            assert file.SOPInstanceUID == record.ReferencedSOPInstanceUIDInFile
            assert file.file_meta.TransferSyntaxUID == record.ReferencedTransferSyntaxUIDInFile
            assert file.InstanceNumber == record.InstanceNumber


def test_what_a_file_lacks_is_filled_in_and_a_name_for_no_medium_is_refused() -> None:
    bare = Entry(("DICOM", "IM1"), "1.2.840.10008.5.1.4.1.1.88.11", "2.25.1", "1.2.840.10008.1.2.1", {})
    directory = pydicom.dcmread(io.BytesIO(make_dicomdir([bare])))
    patient, study, _series, report = directory.DirectoryRecordSequence
    assert (patient.PatientID, study.StudyID) == ("UNKNOWN", "1")
    assert (report.DirectoryRecordType, report.CompletionFlag) == ("SR DOCUMENT", "PARTIAL")
    for name in (("dicom", "x"), ("A" * 9,), ("..",), (), ("A",) * 9):
        with pytest.raises(ValueError, match="File ID"):
            make_dicomdir([Entry(name, "", "", "", {})])


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        ("2", "IMAGE"),
        ("481.3", "RT STRUCTURE SET"),
        ("11.1", "PRESENTATION"),
        ("88.59", "KEY OBJECT DOC"),
        ("88.67", "SR DOCUMENT"),
        ("104.1", "ENCAP DOC"),
        ("66", "RAW DATA"),
        ("66.4", "IMAGE"),
        ("9.1.1", "WAVEFORM"),
    ],
)
def test_each_kind_of_object_has_its_record(sop_class: str, kind: str) -> None:
    assert record_type(f"1.2.840.10008.5.1.4.1.1.{sop_class}") == kind
