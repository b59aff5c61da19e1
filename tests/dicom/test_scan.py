"""The quick reader and pydicom's say the same of every file, whole or damaged, or the quick one says nothing."""

from __future__ import annotations

import dataclasses
import io
import random

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from apps.dicom import parse, phantom
from apps.dicom.errors import DicomError
from apps.dicom.scan import scan
from tests.dicom.files import dataset, grey, part10

NAMES = [field.name for field in dataclasses.fields(parse.Header) if field.name != "dataset"]
PIECES = [bytes.fromhex(piece) for piece in ("ffffffff", "00000000", "feff00e0", "feff0de0", "feffdde0", "e07f1000")]
VRS = [b"UN", b"SQ", b"OB", b"PN", b"XX", b"UI", b"US", b"LO"]


def facts(header):
    return {name: getattr(header, name) for name in NAMES}


def scanned(data):
    header = scan(data[: 64 << 10], io.BytesIO(data), len(data))
    return None if header is None else facts(header)


def parsed(data):
    try:
        return facts(parse.parse_header(io.BytesIO(data)))
    except DicomError as error:
        return error.code


def nested(depth, *, is_undefined):
    inner = Dataset()
    inner.CodeValue = "T-1"
    if depth:
        inner.ConceptCodeSequence = Sequence([nested(depth - 1, is_undefined=is_undefined), Dataset()])
        inner["ConceptCodeSequence"].is_undefined_length = is_undefined
    inner.is_undefined_length_sequence_item = is_undefined
    return inner


def made():
    """Files of every regular kind."""
    for syntax in (ImplicitVRLittleEndian, parse.EXPLICIT_VR_LITTLE_ENDIAN):
        for is_undefined in (False, True):
            image = grey(4, 6, 3, bits=16, PatientName="Grün^Ilse", SpecificCharacterSet="ISO_IR 100")
            image.ProcedureCodeSequence = Sequence([nested(5, is_undefined=is_undefined)])
            image["ProcedureCodeSequence"].is_undefined_length = is_undefined
            image.add_new(0x00091001, "OB", bytes(40_000))
            yield part10(image, syntax)
    yield part10(dataset(StudyDate="20240229", SeriesTime="101112.5", InstanceNumber=7))
    yield from list(phantom.ct_head(slices=2))[:1]
    yield phantom.cine()


def test_both_read_made_files_alike():
    for data in made():
        assert scanned(data) == parsed(data)
        assert scanned(data[:-1]) in (None, parsed(data[:-1]))


def test_irregular_files_are_left_to_pydicom():
    regular = part10(grey(4, 4))
    assert scanned(regular)
    for irregular in (
        b"",
        regular[128:],
        regular[:400],
        regular + b"\0\0",
        part10(dataset()) + b"junk",
    ):
        found = scanned(irregular)
        assert found is None or found == parsed(irregular)


@pytest.mark.samples
def test_both_read_the_samples_and_their_damaged_copies_alike(samples):
    whole = [
        path.read_bytes() for path in sorted(samples.rglob("*")) if path.is_file() and path.stat().st_size < 2 << 20
    ]
    count = 0
    for data in whole:
        found = scanned(data)
        count += found is not None
        assert found in (None, parsed(data))
    assert count > len(whole) / 3
    choice = random.Random(20)
    small = [data[:20_000] for data in [*whole, *made()] if scanned(data)]
    for _ in range(6000):
        data = damaged(choice.choice(small), choice)
        found = scanned(data)
        assert found is None or found == parsed(data), data[:3000].hex()


def damaged(data, choice):
    damaged = bytearray(data)
    end = min(len(data), 3000)
    for _ in range(choice.choice((1, 1, 2, 4))):
        at = choice.randrange(128, min(end, len(damaged)))
        match choice.randrange(5):
            case 0:
                damaged[at] = choice.randrange(256)
            case 1:
                damaged[at : at + 4] = choice.choice(PIECES)
            case 2:
                damaged[at : at + 2] = choice.choice(VRS)
            case 3:
                del damaged[at : at + choice.randrange(1, 9)]
            case _:
                damaged[at:at] = damaged[choice.randrange(128, end) :][: choice.randrange(1, 40)]
    return bytes(damaged)
