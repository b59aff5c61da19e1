"""Text in pixels is found and painted over in every frame, and nothing else is touched.

The short form: `python -m tests.dicom.burned_in --samples FOLDER` measures many files over real backgrounds.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from apps.dicom import parse, pixels
from apps.dicom.burned_in import clean, cleaner, detect, ink, plausible, rules, sample
from apps.dicom.burned_in.blots import without_blots
from apps.dicom.burned_in.boxes import Box, covered, without_inner
from apps.dicom.burned_in.cleaner import TextCleaner, examine, supervised
from apps.dicom.burned_in.lines import leading, lines_of
from apps.dicom.burned_in.plausible import Beyond
from apps.dicom.deidentify import NeedsReviewError, PixelJob
from apps.dicom.parse import Header
from tests.dicom.burned_in import measure, planted

MR = "1.2.840.10008.5.1.4.1.1.4"


def header_of(data: bytes) -> Header:
    return parse.parse_header(io.BytesIO(data))


def job_of(data: bytes) -> PixelJob:
    return PixelJob(data, header_of(data).transfer_syntax_uid, ("Zerlina",), lambda tag: "")


def changed(data: bytes, **values: object) -> bytes:
    """The file with some attributes set differently."""
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def test_planted_strings_are_gone_and_anatomy_is_not_touched() -> None:
    score = measure.Score()
    for kind, syntax, number in (("us", "native", 0), ("sc", "rle", 1), ("cine", "native", 2)):
        measure.OWN_FRAMES[kind, "made"] = planted.backgrounds(kind, None)[0][1]
        score.add(planted.make(kind, syntax, number, 7, samples=None, strings=4), kind)
    assert score.gone == score.strings == 12, score.as_dict()
    assert score.as_dict()["anatomy_changed_percent"] < 0.1
    assert score.refused == 0


def test_every_syntax_is_written_without_loss_outside_the_boxes() -> None:
    frames = tuple(np.random.default_rng(n).integers(1, 255, (40, 60, 3), np.uint8) for n in range(2))
    box = Box(10, 5, 30, 15)
    for syntax in planted.SYNTAXES:
        data = planted.part10("cine", frames, syntax)
        header = header_of(data)
        cleaned = clean.clean_frames(io.BytesIO(data), header, [box])
        file, found = clean.reopened(cleaned, header)
        for n in (1, 2):
            before = pixels.read_frame(io.BytesIO(data), header.pixels, n).samples
            after = pixels.read_frame(file, found.pixels, n).samples
            assert not after[5:15, 10:30].any(), syntax
            after = np.array(after)
            after[5:15, 10:30] = before[5:15, 10:30]
            assert np.array_equal(before, after), syntax
        assert cleaned.transfer_syntax_uid == clean.REWRITTEN_AS.get(header.transfer_syntax_uid, ExplicitVRLittleEndian)


def native(samples: np.ndarray, *, big: bool = False, **values: object) -> bytes:
    """A native file of one frame with these values as they lie in it."""
    data = planted.part10("us", (np.zeros((samples.shape[0], samples.shape[1]), np.uint8),), "native")
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = samples.astype(samples.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True, little_endian=not big, implicit_vr=False)
    return out.getvalue()


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_black_is_black_in_every_byte_order_and_polarity(is_big: bool, photometric: str) -> None:
    samples = np.random.default_rng(3).integers(-900, 2000, (20, 30)).astype(np.int16)
    values = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}
    data = native(samples, big=is_big, PhotometricInterpretation=photometric, **values)
    header = header_of(data)
    cleaned = clean.clean_frames(io.BytesIO(data), header, [Box(3, 2, 9, 8)])
    file, found = clean.reopened(cleaned, header)
    after = pixels.read_frame(file, found.pixels, 1).samples
    assert set(after[2:8, 3:9].ravel()) == {samples.max() if photometric == "MONOCHROME1" else samples.min()}
    is_outside = np.ones_like(samples, np.bool_)
    is_outside[2:8, 3:9] = False
    assert np.array_equal(after[is_outside], samples[is_outside])


def test_primary_slices_are_not_looked_at_and_what_says_otherwise_is() -> None:
    slice_ = planted.part10("us", (np.zeros((8, 8), np.uint8),), "native")
    values = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelData": bytes(128)}
    slice_ = changed(slice_, SOPClassUID=MR, ImageType=["ORIGINAL", "PRIMARY", "M"], **values)
    assert not rules.may_hold_text(header_of(slice_))
    for said in (
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"BurnedInAnnotation": "YES"},
        {"SOPClassUID": planted.US},
    ):
        assert rules.may_hold_text(header_of(changed(slice_, **said))), said


def test_doubtful_images_are_left_to_people_where_there_are_some() -> None:
    frame = np.zeros((32, 32), np.uint8)
    for kind, values, doubt in (
        ("sc", {}, rules.Doubt.SECONDARY_CAPTURE),
        ("sc", {"ConversionType": "SD"}, rules.Doubt.SCANNED),
        ("us", {"BurnedInAnnotation": "YES"}, rules.Doubt.BURNED_IN_DECLARED),
        ("us", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, rules.Doubt.SCREENSHOT),
    ):
        data = changed(planted.part10(kind, (frame,), "native"), **values)
        assert doubt in rules.doubts(header_of(data))
        with pytest.raises(NeedsReviewError):
            supervised()(job_of(data))
        assert TextCleaner()(job_of(data)) is None
        # A person said that there is nothing in it, or where.
        assert supervised([])(job_of(data)) is None
        cleaned = supervised([Box(0, 0, 4, 4)])(job_of(data))
        assert cleaned is not None
        assert cleaned.regions == 1


def test_devices_and_ultrasound_regions_say_where_no_anatomy_is() -> None:
    data = planted.part10("us", (np.zeros((480, 640), np.uint8),), "native")
    assert rules.device_boxes(header_of(changed(data, ManufacturerModelName="iU22"))) == [Box(0, 0, 640, 47)]
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 100, 60
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 539, 459
    with_region = changed(data, SequenceOfUltrasoundRegions=Sequence([region]))
    strips = rules.outside_regions(header_of(with_region))
    assert Box(0, 0, 640, 60) in strips
    assert Box(0, 60, 100, 460) in strips
    # Regions that would cover an image are not believed.
    bright = changed(with_region, PixelData=bytes([200]) * (480 * 640))
    assert not set(strips) & set(examine(io.BytesIO(bright), header_of(bright)).boxes)


def test_boxes_within_others_go_and_regions_are_found_by_runs() -> None:
    assert without_inner([Box(0, 0, 9, 9), Box(1, 1, 3, 3), Box(5, 5, 12, 12)]) == [Box(0, 0, 9, 9), Box(5, 5, 12, 12)]
    marked = np.zeros((8, 8), np.float32)
    marked[1, 1:4] = marked[2, 4] = marked[6, 0] = 0.5
    found = sorted(detect.components(marked, 0.3))
    assert [box for box, _ in found] == [Box(0, 6, 1, 7), Box(1, 1, 5, 3)]
    assert found[1].score == pytest.approx(0.5)


def written(text: str, ground: int, level: int, *, size: int = 14, turns: int = 0) -> tuple[planted.Picture, Box]:
    """A picture with one line of text, and where it is."""
    mask = np.rot90(planted.drawn(text, planted.font("DejaVuSans.ttf", size)), turns)
    picture = np.full((240, 320), ground, np.uint8)
    box = Box(60, 20, 60 + mask.shape[1], 20 + mask.shape[0])
    part = picture[box.top : box.bottom, box.left : box.right]
    part[:] = ground + (level - ground) * (mask / 255)
    return picture, box


@pytest.mark.parametrize(("ground", "level"), [(0, 14), (4, 20), (255, 242)])
def test_letters_that_hardly_stand_out_from_black_or_white_are_found(ground: int, level: int) -> None:
    picture, box = written("Canary Zerlina 22:50", ground, level)
    assert held(box, detect.find_text(picture))


def held(box: Box, found: list[Box]) -> bool:
    """Whether one of them holds the letters of a line, whose edges are soft."""
    return any(each.holds(Box(box.left + 2, box.top + 2, box.right - 2, box.bottom - 2)) for each in found)


def test_small_letters_at_an_edge_are_found() -> None:
    letters = planted.drawn("ACC 2006-44208", planted.font("DejaVuSans.ttf", 8))
    high, wide = letters.shape
    for top in (2, 1760 - high - 2):
        picture = np.full((1760, 1760), 12, np.uint8)
        box = Box(80, top, 80 + wide, top + high)
        picture[box.top : box.bottom, box.left : box.right] = 12 + 0.2 * letters
        assert held(box, detect.find_text(picture)), top


def test_faint_letters_are_found_beside_a_bright_frame() -> None:
    picture, box = written("ACC 2006-44208", 0, 30, size=8)
    picture[box.top - 4, box.left - 5 : box.right + 40] = 255
    assert held(box, detect.find_text(picture))


def test_a_small_vertical_line_is_found_alone_on_a_film() -> None:
    picture, box = written("Tanaka, Yuki", 12, 230, size=10, turns=3)
    film = np.full((1760, 1760), 12, np.uint8)
    film[1000:1240, 1100:1420] = picture
    assert held(Box(*(value + (1000 if n % 2 else 1100) for n, value in enumerate(box))), detect.find_text(film))


@pytest.mark.parametrize(
    ("letter", "flow"), [((255, 255, 0), (255, 120, 0)), ((255, 128, 0), (0, 60, 255)), ((0, 255, 255), (0, 255, 80))]
)
def test_letters_of_a_colour_stand_out_from_flow_in_a_rendering(
    letter: tuple[int, int, int], flow: tuple[int, int, int]
) -> None:
    picture = np.full((120, 160, 3), 50, np.uint8)
    picture[20:100, 20:140] = flow
    picture[50:60, 40:120] = letter
    shown = [each for each, _ in detect.renderings(picture, picture) if each.ndim == 2]
    assert any(int(each[55, 80]) - int(each[40, 80]) > 80 for each in shown)


def test_tissue_above_and_below_a_line_is_not_taken_and_another_ink_on_it_is() -> None:
    picture, box = written("ACC 2008-94445", 60, 230, size=24)
    tissue = np.random.default_rng(5).integers(0, 60, picture.shape)
    picture = np.clip(picture + tissue * (picture < 120), 0, 255).astype(np.uint8)
    wide = box.grown(12)
    assert ink.fitted(ink.sheet_of(picture), wide, None).height <= box.height + 8
    # Faint letters that the detector took for the same line as the strong ones.
    two, first = written("Canary", 0, 240)
    second = Box(first.right + 6, first.top, 2 * first.right + 6 - first.left, first.bottom)
    two[second.top : second.bottom, second.left : second.right] = (
        two[first.top : first.bottom, first.left : first.right] // 8
    )
    assert held(second, [ink.fitted(ink.sheet_of(two), first.joined(second).grown(3), None)])


def test_a_line_in_an_ink_that_nothing_else_has_goes_on_over_two_spaces_in_tissue() -> None:
    letters, box = written("House  23:21", 0, 255)
    _, first = written("House", 0, 255)
    tissue = np.random.default_rng(3).integers(20, 70, (240, 320, 1), np.uint8).repeat(3, axis=2)
    picture = np.where(letters[..., None] > 96, np.array([0, 250, 0], np.uint8), tissue)
    # Only what stands there tells: nobody reads on.
    assert held(box, [ink.fitted(ink.sheet_of(picture), first, lambda *_: 0)])
    # In the grey of the tissue's own strokes it is not believed so far.
    grey = np.where(letters > 96, 90, tissue[..., 0])
    assert not held(box, [ink.fitted(ink.sheet_of(grey), first, lambda *_: 0)])


@pytest.mark.parametrize("turns", [1, 3])
def test_vertical_lines_are_found_from_the_letters_that_are_seen(turns: int) -> None:
    picture, box = written("Canary Zerlina 22:50", 40, 220, turns=turns)
    found = detect.find_text(picture)
    assert held(box, found), found
    assert covered(found, 240, 320).mean() < 0.05


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_line_goes_on_as_far_as_it_can_be_read(turns: int) -> None:
    picture, box = written("ID: K242861 Canary", 40, 220, turns=turns)
    noise = np.random.default_rng(1).integers(0, 50, picture.shape, np.uint8)
    picture = np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    middle = Box(box.left + 50, box.top, box.right - 50, box.bottom)
    if turns:
        middle = Box(box.left, box.top + 50, box.right, box.bottom - 50)
    for way in (-1, 1):
        assert 40 <= Beyond(picture)(middle, bool(turns), way) <= 70


def test_lines_are_whole_whatever_the_detector_cut_them_into() -> None:
    assert lines_of([Box(0, 5, 14, 14), Box(12, 2, 60, 20), Box(64, 3, 100, 20)]) == [Box(0, 2, 100, 20)]
    assert lines_of([Box(0, 0, 200, 20), Box(205, 0, 235, 21)]) == [Box(0, 0, 235, 21)]
    assert len(lines_of([Box(0, 0, 40, 10), Box(0, 30, 40, 40), Box(120, 0, 160, 10)])) == 3
    # A line of its own, beside a much higher one.
    assert len(lines_of([Box(0, 0, 200, 40), Box(210, 12, 340, 28)])) == 2


def test_an_only_frame_is_decoded_once_and_what_was_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode_frame = sample.limited.decode_frame
    monkeypatch.setattr(sample.limited, "decode_frame", lambda *told: decoded.append(told[2]) or decode_frame(*told))
    made = planted.make("us", "rle", 0, 4711, samples=None)
    job = PixelJob(made.data, parse.parse_header(io.BytesIO(made.data)).transfer_syntax_uid, (), lambda _: "")
    assert TextCleaner()(job) is not None
    assert decoded == [1, 1]


def test_a_line_across_others_leads_nowhere_and_one_in_a_block_of_several_does() -> None:
    stacked = [Box(0, 16 * n, 100, 16 * n + 15) for n in range(4)]
    across = Box(30, 0, 45, 62)
    assert set(leading([*stacked, across], 240, 320)) == set(stacked)
    block, inner = Box(0, 0, 100, 62), Box(2, 2, 95, 14)
    assert set(leading([block, inner], 240, 320)) == {block, inner}


def test_small_lines_near_each_other_need_not_be_read_and_an_organ_on_black_is_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(7)
    down, across = np.mgrid[0:240, 0:320]
    inside = (np.hypot(down - 20, across - 160) < 200) & (np.abs(across - 160) < (down - 50) * 0.7)
    fan = np.where(inside, noise.integers(30, 110, (240, 320)), 0).astype(np.uint8)
    assert detect.find_text(fan) == []
    for around in (0, 8):
        organ = plausible.Found(Box(60, 51, 260, 221).grown(around), 0.95)
        assert plausible.plausible(fan, fan.astype(np.float32), [organ], ()) == []
    picture, box = written("ID: K242861", 0, 235)
    # The next line reaches into a fifth of the edge.
    picture[box.bottom + 1 : box.bottom + 3, box.left : box.right : 2] = 235
    monkeypatch.setattr(plausible, "read_either_way", lambda *_: pytest.fail("was read"))
    found = plausible.Found(box.grown(2), 0.95)
    assert plausible.plausible(picture, picture.astype(np.float32), [found], ()) == [found.box]


@pytest.mark.parametrize(("rows", "columns"), [(71, 187), (96, 160), (150, 333)])
def test_a_line_is_where_the_detector_says_whatever_the_shape_of_the_picture(rows: int, columns: int) -> None:
    picture, box = written("ACC 2008", 30, 230)
    cut = np.ascontiguousarray(np.pad(picture, ((0, 100), (0, 100)), mode="edge")[:rows, 40 : 40 + columns])
    [found] = detect.find_text(cut)
    letters = Box(box.left - 40, box.top, box.right - 40, box.bottom)
    assert held(letters, [found])
    assert found.width <= letters.width + 16
    assert found.height <= letters.height + 12


def test_what_was_made_of_several_lines_is_cut_down_to_what_only_it_holds() -> None:
    picture, first = written("Canary Zerlina", 0, 220)
    mask = picture[first.top : first.bottom, first.left : first.right].copy()
    second = Box(first.left, first.top + 30, first.right, first.bottom + 30)
    picture[second.top : second.bottom, second.left : second.right] = mask
    blot = first.joined(second).grown(3)
    # Both lines were found by themselves, then one of them only.
    assert without_blots(picture, [blot, first, second]) == [first, second]
    [kept, rest] = without_blots(picture, [blot, first])
    assert kept == first
    assert rest.holds(Box(second.left + 2, second.top + 2, second.right - 2, second.bottom - 2))
    assert rest.height < second.height + 8
    # Over tissue anything may be a letter.
    tissue = np.random.default_rng(6).integers(0, 50, picture.shape)
    picture = np.clip(picture + tissue, 0, 255).astype(np.uint8)
    assert without_blots(picture, [blot, first]) == [first, blot]


def test_a_line_that_comes_to_light_in_parts_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data = planted.part10("us", (written("Canary", 0, 220)[0],), "native")
    for rounds in (1, 2, 3, 4):
        seen = [Box(8 * n, 200, 8 * n + 8, 208) for n in range(1, rounds)]
        left = [[box] for box in seen]
        monkeypatch.setattr(cleaner, "look_again", lambda *_, left=left: left.pop(0) if left else [])
        if rounds > 3:
            with pytest.raises(NeedsReviewError):
                TextCleaner()(job_of(data))
            continue
        cleaned = TextCleaner()(job_of(data))
        assert cleaned is not None
        assert cleaned.regions == rounds
