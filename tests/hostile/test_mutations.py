"""The short form of `python -m tests.hostile.mutate`: real files, damaged the same way every time (UPL-11)."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from django.test import Client

from apps.accounts.roles import Scope
from apps.clinics.models import Clinic
from apps.dicom import phantom
from tests.dicomweb.conftest import token_for
from tests.hostile import mutations, trials

pytestmark = pytest.mark.django_db

SEED = 20
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = (
    "CT_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle_2frame.dcm",
    "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "test-SR.dcm",
)  # fmt: skip


def test_damage_gives_answers_and_nothing_else_UPL_11(clinic_a: Clinic) -> None:
    sources = [mutations.source(name, (FILES / name).read_bytes()) for name in NAMES]
    sources.append(mutations.source("phantom", phantom.cine(frames=1)))
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.READ)}"}
    result = trials.Result()
    for start in range(0, 240, 40):
        numbers = range(start, start + 40)
        looks = start % 120 == 0
        result.add(trials.try_group(clinic_a, Client(), headers, sources, SEED, numbers, looks=looks))
    assert result.failures == []
    assert result.outcomes.total() == 240
    assert result.outcomes["stored"] + result.outcomes["conflict different-bytes"] > 60
    assert result.outcomes["rejected truncated"] > 20


def test_damage_is_the_same_every_time() -> None:
    sources = [mutations.source("phantom", phantom.cine(frames=1))]
    first = [mutations.mutant(sources, SEED, number) for number in range(20)]
    assert first == [mutations.mutant(sources, SEED, number) for number in range(20)]
    assert len({content for _name, content in first}) == 20
