"""Everything destroyed but the second place and the paper: the README's own commands, word for word, bring it back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.dicom import phantom
from tests.faults.loss import Lost, hashes_of, lose_and_restore

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("runbook"),
    pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="test_postgres.py does it there"),
]
SLICES = 6


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Lost]:
    running = Lost(tmp_path)
    yield running
    running.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "CT"
    folder.mkdir()
    for number, content in enumerate(phantom.ct_head(SLICES), 1):
        (folder / f"{number:03}.dcm").write_bytes(content)
    return folder


def test_the_runbook_brings_everything_back_word_for_word_ENC_08_BAK_05_F12(installation: Lost, folder: Path) -> None:
    restored = lose_and_restore(installation, folder)
    assert "replica-nas" in restored.said
    assert restored.hashes == frozenset(hashes_of(folder.iterdir()))
    assert len(restored.hashes) == SLICES
