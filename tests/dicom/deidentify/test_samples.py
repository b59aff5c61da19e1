"""Real files stay what they were, but for whom they are about."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from apps.dicom.deidentify import Mapper, NeedsReviewError, deidentify, preset
from apps.dicom.errors import IgnoredError
from apps.dicom.parse import parse_header

from .dciodvfy import new_errors

KEY = b"0123456789abcdef"
pytestmark = [pytest.mark.samples, pytest.mark.filterwarnings("ignore")]
GEOMETRY = (
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "Modality", "SOPClassUID",
    "SeriesNumber", "InstanceNumber", "NumberOfFrames", "PhotometricInterpretation", "ImageType", "BitsStored",
    "FrameTime", "KVP", "EchoTime",
)  # fmt: skip


@pytest.fixture(scope="module")
def chosen(samples: Path) -> list[Path]:
    """One file of each kind: the first of every folder of a series, and all of the folders of single ones."""
    found: list[Path] = []
    for folder in sorted(path for path in samples.iterdir() if path.is_dir() and path.name[0].isdigit()):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pdf")
        is_series = folder.name[:2] in ("01", "02", "03", "04", "09", "14")
        found += [files[0], files[-1]] if is_series else files
    return found


def test_every_sample_stays_valid_and_what_it_shows(chosen: list[Path], tmp_path: Path) -> None:
    mapper = Mapper(KEY)
    pairs = []
    refused = []
    for number, path in enumerate(chosen):
        data = path.read_bytes()
        try:
            done = deidentify(data, preset("research"), mapper, pixel_cleaner=lambda job: None).data
        except (NeedsReviewError, IgnoredError):
            refused.append(path.name)
            continue
        before, after = dcmread(path, force=True), dcmread(io.BytesIO(done))
        assert [name for name in GEOMETRY if plain(before.get(name)) != plain(after.get(name))] == [], path
        parse_header(io.BytesIO(done))
        if "PixelData" in before:
            if before.get("BitsStored") == before.get("BitsAllocated"):
                assert same_pixels(before, after), path
            assert len(before.PixelData) + 1 >= len(after.PixelData)
        assert deidentify(done, preset("research"), mapper, pixel_cleaner=lambda job: None).data == done
        written = tmp_path / f"{number}.dcm"
        written.write_bytes(done)
        pairs.append((path, written))
    assert refused == ["REPORT.dcm", "DICOMDIR"]
    sample = [pair for number, pair in enumerate(pairs) if number % 3 == 0]
    assert new_errors(sample) == {}


def plain(value: object) -> str:
    """A value without the blanks that pad its parts."""
    return str(value).replace(" '", "'").replace("' ", "'").replace(" ", "")


def same_pixels(before: Dataset, after: Dataset) -> bool:
    """Whether two native or compressed pixel data are the same bytes, padding aside."""
    if before.file_meta.TransferSyntaxUID.is_compressed:
        return bool(np.array_equal(before.pixel_array, after.pixel_array))
    return bytes(after.PixelData).rstrip(b"\0") == bytes(before.PixelData)[: len(after.PixelData)].rstrip(b"\0")


def test_a_series_still_belongs_together_and_stacks(samples: Path) -> None:
    mapper = Mapper(KEY)
    befores = [dcmread(path) for path in sorted((samples / "02-mr-head-t2").glob("*.dcm"))[:6]]
    afters = [
        dcmread(io.BytesIO(deidentify(Path(str(one.filename)).read_bytes(), preset("research"), mapper).data))
        for one in befores
    ]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({one[keyword].value for one in afters}) == 1
    assert len({one.SOPInstanceUID for one in afters}) == len(afters)
    assert [one.ImagePositionPatient for one in afters] == [one.ImagePositionPatient for one in befores]


def test_a_segmentation_still_points_at_its_slices(samples: Path) -> None:
    mapper = Mapper(KEY)

    def done(path: Path) -> Dataset:
        return dcmread(io.BytesIO(deidentify(path.read_bytes(), preset("research"), mapper).data))

    slices, references = set(), Counter()
    for path in sorted((samples / "09-pt-seg").glob("*")):
        made = done(path)
        if made.Modality == "SEG":
            for item in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
                references[item.ReferencedSOPInstanceUID] += 1
        else:
            slices.add(made.SOPInstanceUID)
    assert slices
    assert slices & set(references)


def test_long_form_is_there(tmp_path: Path) -> None:
    """All samples, every file through dciodvfy: `python -m tests.dicom.deidentify.dciodvfy IN OUT`."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.dicom.deidentify.dciodvfy", "--help"], capture_output=True, check=True
    )
    assert b"IN" in ran.stdout
