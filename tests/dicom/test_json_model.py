"""DICOM JSON as PS3.18 Annex F wants it."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from apps.dicom.errors import BulkDataError
from apps.dicom.json_model import INLINE_BYTES, bulk_data, to_json
from apps.dicom.parse import parse_header
from tests.dicom import files, manifest


def described(data: bytes) -> dict[str, Any]:
    header = parse_header(io.BytesIO(data))
    text = json.dumps(to_json(header.dataset, lambda path: f"bulk/{path}"), allow_nan=False)
    result: dict[str, Any] = json.loads(text)
    return result


def without_bulk(dataset: Dataset) -> None:
    """Take out what JSON gives by reference, group lengths, and what JSON writes in one form only."""
    for element in list(dataset):
        is_long = isinstance(element.value, bytes) and len(element.value) > INLINE_BYTES
        is_left_out = element.tag.element == 0 or element.tag == 0x00080005 or element.tag.group == 0x7FE0
        if element.VR == "SQ":
            for child in element.value:
                without_bulk(child)
        elif is_left_out or is_long or element.value == b"":
            del dataset[element.tag]


@manifest.each(manifest.instances())
def test_pydicom_reads_the_same_values_back(row: dict[str, str], samples: Path) -> None:
    path = samples / row["path"]
    model = described(path.read_bytes())
    assert list(model) == sorted(model)
    again = Dataset.from_json(model, bulk_data_uri_handler=lambda tag, vr, uri: b"")
    original = dcmread(path, force=True)
    without_bulk(again)
    without_bulk(original)
    differing = [
        str(tag)
        for tag in set(again.keys()) | set(original.keys())
        if not same(again.get(tag), original.get(tag), "13-charsets/chinese-gb2312" in row["path"])
    ]
    assert differing == []


def same(left: Any, right: Any, is_gb2312: bool) -> bool:
    if left is None or right is None:
        return left is right
    if left.VR == "SQ":
        return len(left.value) == len(right.value)
    if is_gb2312 and left.VR == "PN":
        # pydicom keeps the escape sequences.
        return str(left.value) == str(right.value).replace("\x1b$)A", "").rstrip("=")
    if isinstance(left.value, bytes) or isinstance(right.value, bytes):
        return bytes(left.value or b"") == bytes(right.value or b"")
    return normal(left.value) == normal(right.value)


def normal(value: Any) -> Any:
    if value is None or value == "":
        return ""
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        return [normal(part) for part in value]
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).strip(" \0").rstrip("=")


def test_values_have_the_types_of_the_annex() -> None:
    made = files.grey(
        2,
        3,
        bits=16,
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        SpecificCharacterSet="ISO_IR 192",
        ImageType=["ORIGINAL", "", "AXIAL"],
        SliceThickness="2.50",
        SeriesNumber="3",
        FrameIncrementPointer=[0x00181063],
        PatientComments="",
        PixelSpacing=["0.5", "1e-1"],
        ReferencedImageSequence=Sequence([files.dataset(), Dataset()]),
        ReferencedStudySequence=Sequence(),
    )
    made.add_new(0x00189087, "FD", 12.5)
    model = described(files.part10(made))
    assert model["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    }
    assert model["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert model["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]}
    assert model["00180050"] == {"vr": "DS", "Value": [2.5]}
    assert model["00200011"] == {"vr": "IS", "Value": [3]}
    assert model["00280009"] == {"vr": "AT", "Value": ["00181063"]}
    assert model["00104000"] == {"vr": "LT"}
    assert model["00280030"] == {"vr": "DS", "Value": [0.5, 0.1]}
    assert model["00280010"] == {"vr": "US", "Value": [2]}
    assert model["00189087"] == {"vr": "FD", "Value": [12.5]}
    assert model["00081140"]["Value"][1] == {}
    assert model["00081110"] == {"vr": "SQ"}
    assert model["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    assert not any(key.startswith("0002") for key in model)


def test_json_stays_valid_whatever_the_numbers_are() -> None:
    data = (
        files.head()
        + files.element(0x00180050, "DS", b"1.5mm ")
        + files.element(0x00189087, "FD", struct.pack("<3d", float("nan"), float("inf"), 1.0))
        + files.element(0x00200011, "IS", b"NaN ")
        + files.element(0x00281050, "DS", b"inf\\-4 ")
    )
    model = described(data)
    assert model["00180050"]["Value"] == ["1.5mm"]
    assert model["00189087"]["Value"] == [None, None, 1.0]
    assert model["00200011"]["Value"] == ["NaN"]
    assert model["00281050"]["Value"] == ["inf", -4]


def test_big_endian_values_come_in_little_endian() -> None:
    words = struct.pack(">4H", 1, 2, 3, 4)
    made = files.dataset(RedPaletteColorLookupTableData=words, Rows=258)
    model = described(files.part10(made, ExplicitVRBigEndian))
    assert model["00280010"]["Value"] == [258]
    assert model["00281201"]["InlineBinary"] == "AQACAAMABAA="


def test_implicit_private_elements_are_kept_as_bytes() -> None:
    made = files.dataset()
    block = made.private_block(0x0099, "SOMEBODY", create=True)
    block.add_new(1, "UN", b"\x01\x02")
    model = described(files.part10(made, ImplicitVRLittleEndian))
    assert model["00990010"] == {"vr": "LO", "Value": ["SOMEBODY"]}
    assert model["00991001"] == {"vr": "UN", "InlineBinary": "AQI="}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("length", [INLINE_BYTES + 2, 60_000])
def test_bulk_data_is_found_at_the_path_that_was_given(length: int, syntax: Any) -> None:
    value = bytes(range(250)) * (length // 250 + 1)
    inner = files.dataset(EncapsulatedDocument=value[:length])
    outer = files.dataset(EncapsulatedDocument=value[:length], SourceImageSequence=Sequence([files.dataset(), inner]))
    file = io.BytesIO(files.part10(outer, syntax))
    header = parse_header(file)
    paths: list[str] = []
    model = to_json(header.dataset, lambda path: paths.append(path) or path)  # type: ignore[func-returns-value]
    assert paths == ["00082112/2/00420011", "00420011"]
    assert model["00420011"]["BulkDataURI"] == "00420011"
    for path in paths:
        assert bulk_data(file, header, path) == ("OB", value[:length])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("00420011", "no-such-element"),
        ("00100020", "no-such-element"),
        ("00081140/1/00420011", "no-such-element"),
        ("00081140/9/00420011", "no-such-element"),
        ("", "bad-argument"),
        ("../../etc/passwd", "bad-argument"),
        ("00081140/1", "bad-argument"),
        ("0008114Z", "bad-argument"),
        ("00081140/-1/00420011", "bad-argument"),
        ("1/2/3", "bad-argument"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, code: str) -> None:
    file = io.BytesIO(files.part10(files.dataset(ReferencedImageSequence=Sequence([files.dataset()]))))
    with pytest.raises(BulkDataError) as caught:
        bulk_data(file, parse_header(file), path)
    assert caught.value.code == code
