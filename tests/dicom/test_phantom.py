"""The demonstration studies: valid, alike each time, and worth looking at."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest

from apps.dicom import phantom
from apps.dicom.decode import rendered
from apps.dicom.parse import Header, parse_header
from apps.dicom.pixels import read_frame
from apps.dicom.sop_classes import Kind
from apps.dicom.validate import validate


@pytest.fixture(scope="module")
def head() -> list[bytes]:
    return list(phantom.ct_head(6, size=128))


@pytest.fixture(scope="module")
def heart() -> bytes:
    return phantom.cine(frames=6)


def checked(data: bytes) -> Header:
    header = parse_header(io.BytesIO(data))
    validate(header)
    return header


def test_the_head_is_one_series_in_order(head: list[bytes]) -> None:
    headers = [checked(data) for data in head]
    assert len({header.sop_instance_uid for header in headers}) == 6
    assert len({(header.study_instance_uid, header.series_instance_uid) for header in headers}) == 1
    assert [header.instance_number for header in headers] == [1, 2, 3, 4, 5, 6]
    heights = [header.image_position_patient[2] for header in headers]
    gaps = np.diff(heights)
    assert gaps.min() > 0
    assert np.ptp(gaps) < 0.001
    assert headers[0].modality == "CT"
    assert headers[0].kind is Kind.IMAGE


def test_the_head_has_air_bone_brain_and_a_bleed(head: list[bytes]) -> None:
    file = io.BytesIO(head[3])
    header = checked(head[3])
    hounsfield = read_frame(file, header.pixels, 1).samples.astype(int) - 1024
    assert hounsfield[2, 2] < -900
    assert hounsfield.max() > 900
    brain = ((hounsfield > 15) & (hounsfield < 50)).mean()
    assert 0.15 < brain < 0.6
    left, right = hounsfield[:, :64], hounsfield[:, 64:]
    assert ((left > 58) & (left < 85)).sum() > 2 * ((right > 58) & (right < 85)).sum()


def test_the_heart_beats(heart: bytes) -> None:
    header = checked(heart)
    assert (header.rows, header.columns, header.number_of_frames) == (480, 640, 6)
    assert header.frame_time == pytest.approx(33.333, abs=0.01)
    file = io.BytesIO(heart)
    frames = [read_frame(file, header.pixels, n).samples.astype(int) for n in range(1, 7)]
    assert all(np.abs(a - b).mean() > 1 for a, b in itertools.pairwise(frames))
    assert rendered(file, 3)[:2] == b"\xff\xd8"


def test_the_same_comes_out_each_time_and_another_seed_is_another_study(head: list[bytes]) -> None:
    assert next(phantom.ct_head(6, size=128)) == head[0]
    other = checked(next(phantom.ct_head(6, size=128, seed="other")))
    assert other.study_instance_uid != checked(head[0]).study_instance_uid


def test_names_and_dates_are_those_of_the_invented_person(head: list[bytes]) -> None:
    header = checked(head[0])
    assert header.patient_name == phantom.CLARA.name
    assert header.patient_birth_date == phantom.CLARA.birth_date
    assert header.dataset.PatientAge == "064Y"
