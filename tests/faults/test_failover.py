"""The short form: the first place goes while a few read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults import failover
from tests.flows.installation import Installation

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.environ["TEST_STACK"] == "servers", reason="the place that is destroyed is a disk of the one-machine stack"
    ),
]


def test_viewers_go_on_when_the_first_place_is_destroyed_F11(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "failover")
    failover.second_disk(installation, tmp_path / "second")
    installation.start()
    try:
        report = failover.run(installation, viewers=6, seconds=6)
    finally:
        installation.stop()
    assert report.wrong == [], str(report)
    assert report.requests > 20
