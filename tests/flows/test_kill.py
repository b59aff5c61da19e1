"""kill -9 of anything at any moment loses nothing that was acknowledged (F1, F2, F6)."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests import servers
from tests.faults import kill, load, processes
from tests.flows.installation import Installation
from tests.ingest.files import part10

pytestmark = pytest.mark.skipif(
    os.environ["TEST_STACK"] == "servers",
    reason="the suite kills the one-machine stack; `TEST_STACK=servers python -m tests.faults.kill` kills the other",
)
KILLS = 12
SEED = 20261121


@pytest.fixture(scope="module")
def own_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that may be killed: the one of the other flows is left alone."""
    running = Installation(tmp_path_factory.mktemp("killed"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def access(own_installation: Installation) -> load.Access:
    """How the client comes in."""
    return load.Access(own_installation)


def test_what_was_acknowledged_survives_kills_of_every_process_F1_F2_F6(
    own_installation: Installation, access: load.Access
) -> None:
    report = kill.run(own_installation, access, KILLS, SEED)
    assert report.wrong == [], str(report)
    assert report.kills.total() == KILLS
    assert set(report.kills) == set(processes.TARGETS)
    assert report.acknowledged == report.sent > KILLS


def test_a_killed_supervisor_takes_all_along_and_a_second_start_serves_again(
    own_installation: Installation, access: load.Access
) -> None:
    ledger = load.Ledger()
    uid, study_uid = "2.25.1234567", "2.25.7654321"
    content = part10(SOPInstanceUID=uid, StudyInstanceUID=study_uid)
    ledger.send(study_uid, {uid: content})
    api = access.api()
    url = f"{access.root}/dicomweb/studies"
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    load.expect(api.post(url, data=content, headers=headers, timeout=30), 200)
    ledger.acknowledge([uid])
    assert own_installation.process
    family = processes.family_of(own_installation.process.pid)
    assert len(family) >= 8  # the supervisor, three programs, two workers each of the web server and of the worker

    os.kill(own_installation.process.pid, signal.SIGKILL)
    own_installation.process.wait()
    servers.wait_until(lambda: not processes.owned_by(own_installation.data_dir), "The end of all processes", 60)

    own_installation.start()
    report = kill.Report(seed=0)
    kill.check(own_installation, access, ledger, report)
    assert report.wrong == []
    assert ledger.acknowledged == {uid: hashlib.sha256(content).hexdigest()}
