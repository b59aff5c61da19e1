"""Small Part 10 files for the tests of the index, made of one that pydicom ships."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

from apps.clinics.models import Clinic
from apps.dicom.parse import Header, parse_header
from apps.storage.models import Blob
from apps.storage.services import write_blob, write_blobs
from apps.studies.models import Instance
from apps.studies.services import index_instances

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT = "CT_small.dcm"
REPORT = "test-SR.dcm"


def uid(name: str) -> str:
    """The UID that a name stands for in these tests."""
    return generate_uid(entropy_srcs=["studies", name])


def part10(
    name: str = "ct1", *, study: str = "study", series: str = "series", source: str = CT, **values: Any
) -> bytes:
    """A file of its own; `study`, `series` and `name` stand for UIDs, everything else is by keyword."""
    dataset = pydicom.dcmread(FILES / source)
    attributes = {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "Müller^Jörg",
        "PatientID": "P-17",
        "PatientBirthDate": "19700131",
        "PatientSex": "M",
        "StudyInstanceUID": uid(study),
        "StudyDate": "20260115",
        "StudyTime": "101530",
        "StudyDescription": "Head",
        "AccessionNumber": "A-4711",
        "SeriesInstanceUID": uid(series),
        "SeriesDescription": "Axial",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SOPInstanceUID": uid(name),
    }
    for keyword, value in (attributes | values).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def header(name: str = "ct1", **values: Any) -> Header:
    """The header of such a file."""
    return parse_header(io.BytesIO(part10(name, **values)))


def stored(clinic: Clinic, content: bytes) -> tuple[Header, Blob]:
    """A file as the pipeline hands it to the index."""
    return parse_header(io.BytesIO(content)), write_blob(clinic, "instance", [content])


def index(clinic: Clinic, *contents: bytes) -> list[Instance]:
    """Store files and index them, as the pipeline does with one batch."""
    blobs = write_blobs(clinic, "instance", list(contents))
    return index_instances(
        clinic, [(parse_header(io.BytesIO(content)), blob) for content, blob in zip(contents, blobs, strict=True)]
    )
