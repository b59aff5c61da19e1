"""The measure: planted identities do not come out again, and what must survive does."""

from __future__ import annotations

import io

import pytest
from pydicom import dcmread

from apps.dicom.deidentify import Mapper, deidentify, preset

from . import hiding
from .__main__ import measure
from .planted import PEOPLE, Planted

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    return hiding.instances(4711, 12)


def test_nothing_planted_comes_out_and_all_that_must_survive_does_UPL_10() -> None:
    total = measure(seed=20261122, count=150, profile="research")
    assert total.instances == 150
    assert total.plants > 4000
    assert dict(total.leaks) == {}
    assert total.refused == total.unreadable == total.pixels_changed == 0
    assert sum(total.lost.values()) <= 0.0005 * total.survive
    assert total.words_kept >= 0.85 * total.words


@pytest.mark.parametrize("profile", ["minimal", "teaching", "second-opinion"])
def test_nothing_planted_comes_out_of_the_other_presets_UPL_10(profile: str) -> None:
    total = measure(seed=5, count=12, profile=profile)
    assert dict(total.leaks) == {}
    assert total.pixels_changed == total.unreadable == 0


def test_the_generator_reaches_every_row_of_the_table_and_twelve_character_sets() -> None:
    rows = {tag for tag, _, _ in hiding.table_rows()}
    made = hiding.instances(1, len(rows) // 24 + 2)
    placed = {place[:8] for one in made for place in one.places}
    assert len({f"{tag:08X}" for tag in rows} - placed) < 0.06 * len(rows)
    assert len({charset for charset, *_ in PEOPLE}) >= 12


def test_the_measure_finds_what_was_not_removed() -> None:
    """A measure that finds nothing in the originals would find nothing anywhere."""
    from .scoring import Score, score

    total = Score()
    for one in hiding.instances(2, 5):
        score(total, one, one.data)
    assert sum(total.leaks.values()) > 100


def test_twice_gives_the_same_bytes_and_the_second_run_changes_nothing(planted: list[Planted]) -> None:
    for one in planted:
        first = deidentify(one.data, preset("research"), KEY, pixel_cleaner=lambda job: None).data
        again = deidentify(one.data, preset("research"), Mapper(KEY), pixel_cleaner=lambda job: None).data
        assert first == again
        assert deidentify(first, preset("research"), KEY, pixel_cleaner=lambda job: None).data == first


def test_references_stay_whole(planted: list[Planted]) -> None:
    mapper = Mapper(KEY)
    for one in planted:
        made = dcmread(
            io.BytesIO(deidentify(one.data, preset("research"), mapper, pixel_cleaner=lambda job: None).data)
        )
        wanted = mapper.uid(one.references[0])
        assert made.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == wanted
        assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == made.SeriesInstanceUID
        assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == wanted
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID


def test_the_report_never_quotes_what_was_there(planted: list[Planted]) -> None:
    import json

    for one in planted:
        result = deidentify(one.data, preset("research"), KEY, pixel_cleaner=lambda job: None)
        said = json.dumps(result.report.as_dict(), ensure_ascii=False).lower()
        assert result.report.changes
        for needle in one.needles:
            if len(needle) > 4:
                assert needle.lower() not in said
