"""Pixels: every sample decodes, and what people see is what the file says."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian

from apps.dicom import decode, pixels
from apps.dicom.decode import Viewport, Window, rendered, thumbnail, to_explicit_little_endian
from apps.dicom.errors import DecodeError, FrameError, NoPixelsError
from apps.dicom.parse import parse_header
from tests.dicom import files, manifest

JPIP_REFERENCED = UID("1.2.840.10008.1.2.4.94")


def shown(data: bytes, **options: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = rendered(io.BytesIO(data), media_type="image/png", **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(picture)))


@manifest.each(manifest.with_pixels())
def test_every_frame_of_the_sample_set_decodes_alike(row: dict[str, str], samples: Path) -> None:
    data = (samples / row["path"]).read_bytes()
    file = io.BytesIO(data)
    header = parse_header(file)
    assert header.pixels is not None
    expected = dcmread(io.BytesIO(data), force=True).pixel_array
    expected = expected.reshape(header.number_of_frames, *pixels.read_frame(file, header.pixels, 1).samples.shape)
    for n in sorted({1, (header.number_of_frames + 1) // 2, header.number_of_frames}):
        frame = pixels.read_frame(file, header.pixels, n)
        assert np.array_equal(frame.samples, expected[n - 1])
        assert decode.decode_frame(file, header.pixels, n)


@manifest.each(manifest.with_pixels())
def test_every_sample_has_a_thumbnail_with_something_on_it(row: dict[str, str], samples: Path) -> None:
    with (samples / row["path"]).open("rb") as file:
        picture = Image.open(io.BytesIO(thumbnail(file)))
    assert picture.format == "JPEG"
    assert max(picture.size) <= 256
    assert max(picture.size) == 256 or max(picture.size) >= max(int(row["rows"]), int(row["cols"]))
    assert picture.convert("L").getextrema() != (0, 0)


@manifest.each([row for row in manifest.instances() if row["pixels_decode"] == "none"])
def test_what_has_no_pixels_says_so(row: dict[str, str], samples: Path) -> None:
    with (samples / row["path"]).open("rb") as file:
        header = parse_header(file)
        for ask in (lambda: thumbnail(file, header), lambda: rendered(file, header=header)):
            with pytest.raises(NoPixelsError) as caught:
                ask()
            assert caught.value.code == "no-pixels"


@manifest.each([row for row in manifest.instances() if row["path"].startswith(("05", "08", "10", "11", "12"))])
def test_an_instance_is_the_same_uncompressed(row: dict[str, str], samples: Path) -> None:
    data = (samples / row["path"]).read_bytes()
    plain = to_explicit_little_endian(io.BytesIO(data))
    original, result = dcmread(io.BytesIO(data), force=True), dcmread(io.BytesIO(plain))
    assert result.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert result.SOPInstanceUID == row["sop_uid"]
    if row["pixels_decode"] == "yes":
        assert np.array_equal(result.pixel_array, original.pixel_array)
    if row["transfer_syntax"] == "1.2.840.10008.1.2.1":
        assert plain == data


def test_big_endian_comes_in_little_endian() -> None:
    value = struct.pack(">4H", 1, 2, 3, 258)
    data = files.part10(files.grey(2, 2, bits=16, data=value), ExplicitVRBigEndian)
    header = parse_header(io.BytesIO(data))
    assert decode.decode_frame(io.BytesIO(data), header.pixels, 1) == struct.pack("<4H", 1, 2, 3, 258)
    assert dcmread(io.BytesIO(to_explicit_little_endian(io.BytesIO(data)))).pixel_array.tolist() == [[1, 2], [3, 258]]


def test_only_the_frame_is_read() -> None:
    class Watched(io.BytesIO):
        consumed = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.consumed += len(data)
            return data

    data = files.part10(files.grey(64, 64, 100, bits=16))
    index = parse_header(io.BytesIO(data)).pixels
    file = Watched(data)
    assert decode.decode_frame(file, index, 77)[:2] == struct.pack("<H", 77)
    assert file.consumed == 64 * 64 * 2


def ramp(**more: object) -> Dataset:
    """A row of the stored values 0, 100 ... 900."""
    return files.grey(1, 10, bits=16, data=struct.pack("<10H", *range(0, 1000, 100)), **more)


def test_the_window_of_the_file_is_used() -> None:
    grey = shown(files.part10(ramp(WindowCenter="500", WindowWidth="401")))[0].tolist()
    assert grey[:4] == [0, 0, 0, 0]
    assert grey[5] == 128
    assert grey[-3:] == [255, 255, 255]


def test_an_asked_for_window_wins_and_counts_in_rescaled_units() -> None:
    made = ramp(WindowCenter="500", WindowWidth="10", RescaleSlope="2", RescaleIntercept="-1000")
    grey = shown(files.part10(made), window=(0, 2001))[0].tolist()
    assert grey[0] == 0
    assert grey[5] == 128
    assert grey == sorted(grey)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_all_functions_of_a_window_put_its_centre_in_the_middle(function: str) -> None:
    grey = shown(files.part10(ramp()), window=Window(500, 400, function))[0].tolist()
    assert abs(grey[5] - 128) <= 1
    assert grey == sorted(grey)


def test_monochrome1_is_inverted_and_the_presentation_shape_decides() -> None:
    normal = shown(files.part10(ramp()), window=(450, 900))[0]
    inverted = shown(files.part10(ramp(PhotometricInterpretation="MONOCHROME1")), window=(450, 900))[0]
    inverse = shown(files.part10(ramp(PresentationLUTShape="INVERSE")), window=(450, 900))[0]
    assert np.array_equal(255 - normal, inverted)
    assert np.array_equal(255 - normal, inverse)


def test_without_a_window_the_values_span_black_to_white() -> None:
    grey = shown(files.part10(ramp()))[0]
    assert (grey.min(), grey.max()) == (0, 255)


def test_a_window_per_frame_is_found_in_the_functional_groups() -> None:
    def group(center: float) -> Dataset:
        voi, item = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = f"{center}", "2"
        item.FrameVOILUTSequence = Sequence([voi])
        return item

    made = files.grey(1, 2, 2, PerFrameFunctionalGroupsSequence=Sequence([group(100), group(1)]))
    data = files.part10(made)
    assert shown(data, frame=1).max() == 0
    assert shown(data, frame=2).min() == 255


def test_a_large_palette_that_stayed_in_the_file_is_used() -> None:
    made = files.grey(1, 2, data=b"\x00\x01", PhotometricInterpretation="PALETTE COLOR")
    entries = 65536
    for n, colour in enumerate(("Red", "Green", "Blue")):
        table = struct.pack("<H", 0) + struct.pack("<H", 0xFFFF if n == 1 else 0) + bytes(2 * (entries - 2))
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [0, 0, 16])
        setattr(made, f"{colour}PaletteColorLookupTableData", table)
    picture = shown(files.part10(made))
    assert picture[0].tolist() == [[0, 0, 0], [0, 255, 0]]


def test_pictures_fit_the_size_that_is_asked_for_and_keep_their_shape() -> None:
    data = files.part10(files.grey(40, 80))
    assert shown(data, size=(200, 200)).shape == (100, 200)
    assert shown(data, size=(20, 20)).shape == (10, 20)
    assert shown(data, size=Viewport(50, 50, 10, 10, 20, 20)).shape == (50, 50)


def test_pixels_that_are_not_square_are_stretched() -> None:
    data = files.part10(files.grey(20, 20, PixelSpacing=["2", "1"]))
    assert shown(data).shape == (40, 20)


@pytest.mark.parametrize(
    "options",
    [
        {"window": (1, 0)},
        {"window": (1, -5)},
        {"window": (float("nan"), 5)},
        {"window": (1, 5, "CUBIC")},
        {"size": (0, 10)},
        {"size": (100_000, 100_000)},
        {"size": (10, 10, 5, 5, 500, 500)},
        {"quality": 101},
    ],
)
def test_senseless_requests_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(DecodeError) as caught:
        shown(files.part10(files.grey(8, 8)), **options)
    assert caught.value.code == "bad-argument"


def test_a_media_type_that_is_not_offered_is_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        rendered(io.BytesIO(files.part10(files.grey(2, 2))), media_type="image/gif")
    assert caught.value.code == "bad-argument"


def test_pictures_carry_no_metadata() -> None:
    data = files.part10(files.grey(8, 8, PatientName="Secret^Name"))
    for media_type in decode.MEDIA_TYPES:
        assert b"Secret" not in rendered(io.BytesIO(data), media_type=media_type)


def test_a_frame_beyond_the_last_is_refused() -> None:
    with pytest.raises(FrameError) as caught:
        rendered(io.BytesIO(files.part10(files.grey(2, 2, 2))), 3)
    assert caught.value.code == "no-such-frame"


def test_a_transfer_syntax_without_decoder_is_said_to_be_one() -> None:
    assert not decode.can_decode(JPIP_REFERENCED)
    data = files.encapsulated([b"http"], JPIP_REFERENCED)
    with pytest.raises(DecodeError) as caught:
        thumbnail(io.BytesIO(data))
    assert caught.value.code == "unsupported-transfer-syntax"


@manifest.each([row for row in manifest.rows() if row["path"].startswith("12-")])
def test_every_transfer_syntax_of_the_sample_set_has_a_decoder(row: dict[str, str]) -> None:
    native = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
    assert row["transfer_syntax"] in native or decode.can_decode(row["transfer_syntax"])
