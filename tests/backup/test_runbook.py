"""Everything destroyed but the second place and the paper: the README's own commands, word for word, bring it back."""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from django.conf import settings

from apps.dicom import phantom
from tests import servers
from tests.faults.processes import kill, owned_by
from tests.flows.installation import Installation

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("runbook"),
    pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="test_postgres.py does it there"),
]
SLICES = 6
HEADING = "### After a total loss"


class Lost(Installation):
    """An installation with a second place, which is about to be destroyed."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.place = run / "nas"
        self.environment |= {"PORTAL_REPLICAS": "nas", "PORTAL_REPLICA_NAS_DIR": str(self.place)}

    def destroy(self) -> None:
        """Kill every process at once, and remove everything but the second place."""
        for pid in owned_by(self.data_dir):
            kill(pid)
        if self.process:
            self.process.wait(10)
        shutil.rmtree(self.data_dir)
        self.data_dir.mkdir()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Lost]:
    running = Lost(tmp_path)
    yield running
    for pid in owned_by(running.data_dir):
        kill(pid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "CT"
    folder.mkdir()
    for number, content in enumerate(phantom.ct_head(SLICES), 1):
        (folder / f"{number:03}.dcm").write_bytes(content)
    return folder


def words_of(sheets: Path) -> list[str]:
    """What somebody reads off the sheets."""
    lists = re.findall(r"<ol[^>]*>(.*?)</ol>", sheets.read_text(), re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", each)).split()) for each in lists]


def commands() -> str:
    """The runbook as it stands in the README."""
    readme = (Path(settings.BASE_DIR) / "README.md").read_text()
    return re.search(r"```sh\n(.*?)```", readme.split(HEADING)[1], re.DOTALL)[1]


def copied(place: Path, since: float) -> bool:
    """Whether the place got every image, and the database as it was after `since`."""
    blobs = [path for path in place.glob("[0-9a-f][0-9a-f]/*") if not path.name.startswith(".")]
    newest = max((path.stat().st_mtime for path in place.glob("backup/*/*")), default=0)
    return len(blobs) >= SLICES and newest > since + 2


def test_the_runbook_brings_everything_back_word_for_word_ENC_08_BAK_05_F12(installation: Lost, folder: Path) -> None:
    installation.start()
    installation.manage("create_clinic", "story", "--name", "Story Imaging", "--owner", "alice@story.example")
    token = installation.manage("create_api_token", "--clinic", "story", "--scopes", "read").split()[0]
    installation.manage("escrow_master_key", str(installation.data_dir / "sheets.html"))
    words = words_of(installation.data_dir / "sheets.html")
    assert len(words) == 3
    installation.manage("import_dicom", "--clinic", "story", str(folder))
    acknowledged_at = time.time()
    servers.wait_until(lambda: copied(installation.place, acknowledged_at), "The copies", seconds=180)
    installation.destroy()

    restored = subprocess.Popen(
        ["bash", "-e", "-c", commands()], cwd=settings.BASE_DIR, env=installation.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    restored.stdin.write(f"{words[2]}\n{words[0]}\n\n")
    restored.stdin.close()
    said = []
    for line in restored.stdout:
        said.append(line)
        if "serves at" in line:
            break
    assert "serves at" in said[-1], "".join(said)
    assert "replica-nas" in "".join(said)
    servers.wait_until(lambda: installation.status("/readyz") == 200, "Viewbox", seconds=180)

    # The first image, at once, through the door that viewers use; then all of them, bit for bit.
    assert len(instances(installation, token, next(folder.iterdir()))) == SLICES
    kit = installation.data_dir / "kit"
    installation.manage("rescue_kit", str(kit))
    there = {hashlib.sha256(path.read_bytes()).digest() for path in kit.rglob("IM0*")}
    assert there == {hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


def instances(installation: Lost, token: str, one: Path) -> list[bytes]:
    """Every instance that DICOMweb gives of the study of one of its files."""
    study = pydicom.dcmread(one, stop_before_pixels=True).StudyInstanceUID
    request = urllib.request.Request(
        f"{installation.base_url}/c/story/dicomweb/studies/{study}",
        headers={"Authorization": f"Bearer {token}", "Accept": 'multipart/related; type="application/dicom"'},
    )
    trust = ssl._create_unverified_context()
    with urllib.request.urlopen(request, context=trust, timeout=60) as answer:
        parts = answer.read().split(b"DICM")
    return parts[1:]
