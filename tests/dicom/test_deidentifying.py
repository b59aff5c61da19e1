"""De-identification in confined children gives what it gives elsewhere (CONTROLS UPL-08)."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from apps.dicom.burned_in.boxes import Box
from apps.dicom.burned_in.cleaner import supervised
from apps.dicom.deidentify import Mapper, NeedsReviewError, Reason, deidentify, preset
from apps.dicom.deidentify.verify import Known
from apps.dicom.errors import DicomError
from apps.dicom.limited import deidentifying
from apps.dicom.phantom import ct_head
from tests.dicom.burned_in import planted

KEY = bytes(range(32))


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    deidentifying.POOL.close()


@pytest.mark.parametrize("syntax", ["native", "j2k"])
def test_a_child_gives_the_same_bytes_and_report_UPL_08(syntax: str) -> None:
    slice_ = next(iter(ct_head(slices=2)))
    for data in (slice_, planted.make("us", syntax, 1, 5, samples=None, strings=2).data):
        made, report = deidentifying.deidentify(io.BytesIO(data), "research", KEY, None)
        here = deidentify(data, preset("research"), Mapper(KEY), pixel_cleaner=supervised())
        assert made == here.data
        assert report == here.report.as_dict()


def test_what_a_person_has_to_look_at_comes_with_a_proposal() -> None:
    data = planted.make("sc", "native", 1, 5, samples=None, strings=2).data
    with pytest.raises(NeedsReviewError) as raised:
        deidentifying.deidentify(io.BytesIO(data), "research", KEY, None)
    assert raised.value.reason is Reason.PIXELS_DOUBTFUL
    proposal = deidentifying.propose(io.BytesIO(data))
    assert proposal.boxes
    made, report = deidentifying.deidentify(io.BytesIO(data), "research", KEY, list(proposal.boxes))
    assert report["pixel_regions"] == len(proposal.boxes)
    assert len(made) > 0
    # A person may also say that there is nothing in it.
    _, report = deidentifying.deidentify(io.BytesIO(data), "research", KEY, [])
    assert report["pixels"] == "checked"


def test_a_child_finds_what_an_original_says_and_not_in_its_copy_UPL_08() -> None:
    originals = list(ct_head(slices=2))
    known = Known()
    for data in originals:
        known.join(deidentifying.harvest(io.BytesIO(data), "research"))
    assert deidentifying.count_residue(io.BytesIO(originals[0]), known) > 5
    copied, _ = deidentifying.deidentify(io.BytesIO(originals[0]), "research", KEY, None)
    assert deidentifying.count_residue(io.BytesIO(copied), known) == 0
    assert deidentifying.count_residue(io.BytesIO(b"no DICOM at all" * 40), known) == 1, "unreadable is not clean"
    assert not deidentifying.harvest(io.BytesIO(b"no DICOM at all" * 40), "research").names


def test_a_damaged_file_costs_itself_alone_UPL_08() -> None:
    with pytest.raises(DicomError):
        deidentifying.deidentify(io.BytesIO(b"no DICOM at all" * 40), "research", KEY, [Box(0, 0, 1, 1)])
    made, _ = deidentifying.deidentify(io.BytesIO(next(iter(ct_head(slices=2)))), "minimal", KEY, None)
    assert made[128:132] == b"DICM"
