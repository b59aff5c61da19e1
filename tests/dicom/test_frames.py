"""The frame index: each frame's bytes, found without the others."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from apps.dicom import decode
from apps.dicom.errors import DicomError, FrameError
from apps.dicom.frames import Layout, PixelIndex, frame_range, read_ranges, stream_range
from apps.dicom.parse import parse_header
from tests.dicom import files, manifest

JPEG = b"\xff\xd8\xff\xe0"


def index_of(data: bytes) -> PixelIndex:
    index = parse_header(io.BytesIO(data)).pixels
    assert index is not None
    return index


def frames_of(data: bytes) -> list[bytes]:
    index = index_of(data)
    return [read_ranges(io.BytesIO(data), frame_range(index, n)) for n in range(1, index.number_of_frames + 1)]


@manifest.each([row for row in manifest.with_pixels() if int(row["frames"] or 1) > 1])
def test_frames_are_the_bytes_that_pydicom_finds(row: dict[str, str], samples: Path) -> None:
    data = (samples / row["path"]).read_bytes()
    index = index_of(data)
    value = dcmread(io.BytesIO(data))
    if index.layout is Layout.ENCAPSULATED:
        expected = list(generate_frames(value.PixelData, number_of_frames=index.number_of_frames))
        assert frames_of(data) == expected
    else:
        whole = value[index.tag].value
        assert b"".join(frames_of(data)) == whole[: index.frame_bytes * index.number_of_frames]


@manifest.each(manifest.with_pixels())
def test_index_survives_storing(row: dict[str, str], samples: Path) -> None:
    index = index_of((samples / row["path"]).read_bytes())
    stored = index.to_bytes()
    assert PixelIndex.from_bytes(stored) == index
    assert len(stored) < 1000


def test_a_frame_deep_in_a_file_is_read_alone() -> None:
    data = files.part10(files.grey(16, 16, 200, bits=16))
    index = index_of(data)
    [(offset, length)] = frame_range(index, 150)
    assert length == 512
    assert data[offset : offset + length] == struct.pack("<H", 150) * 256


def test_one_fragment_a_frame_without_a_table() -> None:
    assert frames_of(files.encapsulated([b"one!", b"two!", b"3333"], RLELossless, NumberOfFrames=3)) == [
        b"one!",
        b"two!",
        b"3333",
    ]


def test_fragments_of_a_single_frame_are_joined_whatever_the_table_says() -> None:
    wrong = struct.pack("<3I", 0, 12, 24)
    data = files.encapsulated([b"aaaa", b"bbbb", b"cccc"], JPEGBaseline8Bit, table=wrong, NumberOfFrames=1)
    assert frames_of(data) == [b"aaaabbbbcccc"]


def test_the_basic_offset_table_joins_fragments() -> None:
    table = struct.pack("<2I", 0, 24)
    data = files.encapsulated([b"aaaa", b"bbbb", b"cccc"], JPEGBaseline8Bit, table=table, NumberOfFrames=2)
    assert frames_of(data) == [b"aaaabbbb", b"cccc"]


def test_the_extended_offset_table_joins_fragments() -> None:
    table = struct.pack("<2Q", 0, 12)
    data = files.encapsulated([b"aaaa", b"bbbb", b"cccc"], JPEGBaseline8Bit, extended=table, NumberOfFrames=2)
    assert frames_of(data) == [b"aaaa", b"bbbbcccc"]


def test_a_wrong_offset_table_is_not_believed() -> None:
    table = struct.pack("<2I", 0, 13)
    fragments = [JPEG + b"1111", b"2222", JPEG + b"3333"]
    data = files.encapsulated(fragments, JPEGBaseline8Bit, table=table, NumberOfFrames=2)
    assert frames_of(data) == [JPEG + b"11112222", JPEG + b"3333"]


def test_fragments_that_cannot_be_told_apart_are_said_so() -> None:
    data = files.encapsulated([b"aaaa", b"bbbb", b"cccc"], JPEG2000Lossless, NumberOfFrames=2)
    index = index_of(data)
    assert index.layout is Layout.UNMAPPED
    with pytest.raises(FrameError) as caught:
        frame_range(index, 1)
    assert caught.value.code == "frame-not-addressable"


def test_a_video_is_one_stream() -> None:
    data = files.encapsulated([b"head", b"tail"], MPEG2MPML, NumberOfFrames=250)
    index = index_of(data)
    assert (index.layout, index.number_of_frames) == (Layout.STREAM, 250)
    assert read_ranges(io.BytesIO(data), stream_range(index)) == b"headtail"
    with pytest.raises(DicomError) as caught:
        decode.decode_frame(io.BytesIO(data), index, 1)
    assert caught.value.code == "frame-not-addressable"


def test_a_missing_delimiter_at_the_end_loses_nothing() -> None:
    data = files.encapsulated([b"one!", b"two!"], RLELossless, NumberOfFrames=2)
    assert frames_of(data[: -len(files.SEQUENCE_END)]) == [b"one!", b"two!"]


@pytest.mark.parametrize("n", [-1, 0, 3])
def test_a_frame_that_does_not_exist_is_refused(n: int) -> None:
    index = index_of(files.part10(files.grey(2, 2, 2)))
    with pytest.raises(FrameError) as caught:
        frame_range(index, n)
    assert caught.value.code == "no-such-frame"


def test_bits_of_frames_that_share_a_byte_are_cut_out() -> None:
    # Three frames of 3 x 3 pixels, one bit each: ones, zeros, ones; 27 bits in 4 bytes.
    bits = int("1" * 9 + "0" * 9 + "1" * 9, 2)
    made = files.grey(3, 3, 3, data=bits.to_bytes(4, "little"))
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    data = files.part10(made)
    index = index_of(data)
    assert index.layout is Layout.PACKED
    with pytest.raises(FrameError):
        frame_range(index, 2)
    decoded = [decode.decode_frame(io.BytesIO(data), index, n) for n in (1, 2, 3)]
    assert decoded == [b"\xff\x01", b"\0\0", b"\xff\x01"]


@pytest.mark.parametrize("data", [b"", b"PIX1", b"PIX1garbage", b"something else"])
def test_a_damaged_index_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        PixelIndex.from_bytes(data)
    assert caught.value.code == "bad-index"
