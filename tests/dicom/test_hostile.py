"""Files that mean harm, or are broken beyond sense: a code comes out, never anything else, and soon."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from collections import Counter
from typing import BinaryIO, cast

import pytest
from pydicom.uid import JPEG2000, JPEGBaseline8Bit

from apps.dicom import bounded, decode, json_model, parse, phantom
from apps.dicom.errors import DicomError, RejectedError
from apps.dicom.frames import MAX_FRAGMENTS
from apps.dicom.parse import parse_header
from apps.dicom.validate import validate
from tests.dicom import files


def code_of(data: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        validate(parse_header(io.BytesIO(data)))
    return caught.value.code


def test_nesting_without_end_is_refused_UPL_09() -> None:
    deep = files.element(0x00081140, "SQ", b"", files.UNDEFINED) + files.item(b"", files.UNDEFINED)
    assert code_of(files.head() + deep * 20_000) == "too-deep"


def test_nesting_with_lengths_is_refused_UPL_09() -> None:
    value = b""
    for _ in range(parse.MAX_DEPTH + 2):
        value = files.element(0x00081140, "SQ", files.item(value))
    assert code_of(files.head() + value) == "too-deep"


def test_nesting_within_the_limit_is_read_UPL_09() -> None:
    value = b""
    for _ in range(parse.MAX_DEPTH):
        value = files.element(0x00081140, "SQ", files.item(value))
    header = parse_header(io.BytesIO(files.head() + value))
    json.dumps(json_model.to_json(header.dataset, str))


def test_too_many_elements_are_refused_UPL_09() -> None:
    many = b"".join(files.element(0x00091000 + n, "LO", b"") for n in range(0xEF00))
    more = b"".join(files.element(0x000B1000 + n, "LO", b"") for n in range(0xEF00))
    assert code_of(files.head() + many + more) == "too-many-elements"


def test_too_many_items_are_refused_UPL_09() -> None:
    items = files.item(files.element(0x00080100, "SH", b"A ")) * (parse.MAX_ELEMENTS + 1)
    assert code_of(files.head() + files.element(0x00081140, "SQ", items)) == "too-many-elements"


def test_a_claimed_length_allocates_nothing() -> None:
    class Watched(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            self.largest = max(self.largest, size or 0)
            return super().read(size)

    data = files.head() + files.element(0x00091010, "UT", b"abc", 0xFFFFFFF0)
    file = Watched(data)
    with pytest.raises(RejectedError) as caught:
        parse_header(file)
    assert caught.value.code == "truncated"
    assert file.largest <= len(data)


def test_a_claimed_length_inside_a_sequence_is_noticed() -> None:
    inner = files.item(files.element(0x00080104, "UT", b"abc", 5000))
    assert code_of(files.head() + files.element(0x0040A043, "SQ", inner)) == "truncated"


def test_a_large_header_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_HEADER_BYTES", 100_000)
    assert code_of(files.head() + files.element(0x00104000, "UT", b"x" * 200_000)) == "too-large"


def test_deflated_data_that_expands_beyond_the_limit_is_refused_UPL_04() -> None:
    bomb = files.deflated(files.element(0x00104000, "UT", b"\0" * (parse.MIN_INFLATE_LIMIT + 1)))
    assert len(bomb) < 100_000
    assert code_of(bomb) == "expands-beyond-limit"


def test_deflated_data_cut_short_is_truncated_UPL_04() -> None:
    data = files.deflated(files.part10(files.grey(64, 64))[400:])
    assert code_of(data[:-20]) == "truncated"


def test_deflated_data_that_is_none_is_malformed_UPL_04() -> None:
    start = files.deflated(b"")[:-2]
    assert code_of(start + b"\xff" * 300) == "malformed"


def test_a_flood_of_native_pixels_is_refused_UPL_09() -> None:
    made = files.grey(1, 1, data=bytes(64))
    made.Rows = made.Columns = 65535
    assert code_of(files.part10(made)) == "too-many-pixels"


def test_a_flood_of_compressed_pixels_is_refused_before_decoding_UPL_09() -> None:
    data = files.encapsulated([b"\xff\xd8\xff\xd9"], JPEGBaseline8Bit, Rows=65535, Columns=65535)
    assert code_of(data) == "too-many-pixels"
    with pytest.raises(DicomError) as caught:
        decode.thumbnail(io.BytesIO(data))
    assert caught.value.code == "too-many-pixels"


def test_a_flood_of_frames_is_refused_UPL_09() -> None:
    data = files.encapsulated([b"\xff\xd8\xff\xd9"], JPEGBaseline8Bit, NumberOfFrames=2_000_000_000)
    assert code_of(data) == "too-many-pixels"


def test_a_codestream_that_declares_more_than_the_header_is_not_decoded_UPL_09() -> None:
    # SOC, SIZ: a JPEG 2000 image of 4 gigapixels in a few bytes, while the header says 4 x 4.
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, 65535, 65535, 0, 0, 65535, 65535, 0, 0, 1, 7, 1, 1)
    data = files.encapsulated([b"\xff\x4f\xff\x51" + size], JPEG2000)
    with pytest.raises(DicomError) as caught:
        decode.rendered(io.BytesIO(data))
    assert caught.value.code == "undecodable"


def test_a_fragment_that_claims_more_than_the_file_is_truncated() -> None:
    data = files.encapsulated([b"\xff\xd8\xff\xd9"], JPEGBaseline8Bit)
    at = data.rindex(b"\xfe\xff\x00\xe0")
    assert code_of(data[: at + 4] + struct.pack("<I", 1 << 31) + data[at + 8 :]) == "truncated"


def test_something_else_between_fragments_is_malformed() -> None:
    data = files.encapsulated([b"\xff\xd8\xff\xd9"], JPEGBaseline8Bit)
    at = data.rindex(b"\xfe\xff\x00\xe0")
    assert code_of(data[:at] + b"\xfe\xff\x0d\xe0" + data[at + 4 :]) == "malformed"


def test_fragments_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.dicom.frames.MAX_FRAGMENTS", 100)
    assert MAX_FRAGMENTS > 100
    assert code_of(files.encapsulated([b""] * 101, JPEGBaseline8Bit)) == "too-many-elements"


def test_every_cut_of_a_file_is_refused_or_whole() -> None:
    """Wherever a transfer breaks off, no picture with missing lines comes of it."""
    whole = files.part10(files.grey(8, 8, PatientName="Somebody^Else"))
    refused: Counter[str] = Counter()
    for length in range(len(whole)):
        try:
            header = parse_header(io.BytesIO(whole[:length]))
        except RejectedError as error:
            refused[error.code] += 1
        else:
            # A cut between two elements leaves a shorter, well-formed file: one without pixels.
            assert not header.has_pixels
    assert set(refused) <= {"not-dicom", "truncated", "malformed"}
    assert refused.total() > 0.95 * len(whole)


def test_a_failing_disk_is_not_blamed_on_the_file() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        parse_header(cast(BinaryIO, Broken(bytes(1000))))


def test_damage_anywhere_gives_a_code_and_nothing_else() -> None:
    """A thousand damaged variants: only errors with a code, and what is accepted can be described and shown."""
    chance = random.Random(20)
    originals = [
        files.part10(files.grey(8, 8, 2, PatientName="Some^Body", PerformedStationNameCodeSequence=[files.dataset()])),
        files.encapsulated([b"\xff\xd8\xff\xe0abcd", b"\xff\xd9"], JPEGBaseline8Bit),
        files.deflated(files.part10(files.grey(4, 4))[400:]),
        phantom.cine(frames=1)[:6000],
    ]
    splices = (
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"SQ\0\0",
        b"UN\0\0",
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\xdd\xe0",
        b"\x1b$)A",
    )
    accepted = 0
    for _ in range(1000):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.choice((1, 1, 3, 10))):
            at = chance.randrange(132, len(data))
            match chance.randrange(3):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    splice = chance.choice(splices)
                    data[at : at + len(splice)] = splice
                case _:
                    del data[at : at + chance.randrange(1, 30)]
        file = io.BytesIO(bytes(data))
        try:
            header = parse_header(file)
        except DicomError:
            continue
        accepted += 1
        json.dumps(json_model.to_json(header.dataset, str), allow_nan=False)
        if header.pixels is None or not header.pixels.is_encapsulated:
            with contextlib.suppress(DicomError):
                decode.thumbnail(file, header)
    assert accepted > 100


def test_errors_never_quote_the_file() -> None:
    data = files.part10(files.dataset(PatientName="Secret^Name", StudyInstanceUID="Secret"))
    with pytest.raises(RejectedError) as caught:
        validate(parse_header(io.BytesIO(data)))
    assert "Secret" not in str(caught.value) + repr(caught.value)


def test_warnings_of_the_library_do_not_reach_logs(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = files.head() + files.element(0x00080005, "CS", b"SECRET") + files.element(0x00100010, "PN", b"\xe4SECRET")
    parse_header(io.BytesIO(data))
    assert "SECRET" not in "".join(capfd.readouterr()) + caplog.text
