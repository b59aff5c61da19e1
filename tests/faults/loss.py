"""Everything destroyed but the second place and the paper: the README's commands, word for word, bring it back (F12).

`python -m tests.faults.loss --instances 10000` from the checkout: how long that takes, until the first image and until
every instance has been read again and compared. The short form is tests/backup/test_runbook.py.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import io
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tests.environment as environment
from tests.faults.processes import kill, owned_by
from tests.faults.results import add_result
from tests.flows.installation import Installation

ROOT = Path(__file__).parents[2]
HEADING = "### After a total loss"
SLUG = "story"
SLICES_OF_A_STUDY = 100


class Lost(Installation):
    """An installation with a second place, which is about to be destroyed."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.place = run / "nas"
        self.environment |= {"PORTAL_REPLICAS": "nas", "PORTAL_REPLICA_NAS_DIR": str(self.place)}

    def destroy(self) -> None:
        """Kill every process at once, and remove everything but the second place."""
        self.end()
        shutil.rmtree(self.data_dir)
        self.data_dir.mkdir()

    def end(self) -> None:
        """Kill every process at once."""
        for pid in owned_by(self.data_dir):
            kill(pid)
        if self.process:
            self.process.wait(10)


@dataclass(frozen=True)
class Restored:
    """How it went: seconds from the first command until Viewbox served and until the first image, and what is there."""

    said: str
    serving_seconds: float
    first_image_seconds: float
    hashes: frozenset[bytes]


def lose_and_restore(installation: Lost, folder: Path, *, wait_seconds: float = 180) -> Restored:
    """Import the files, wait until their copies are made, destroy everything, and play the runbook."""
    from tests import servers

    installation.start()
    installation.manage("create_clinic", SLUG, "--name", "Story Imaging", "--owner", "alice@story.example")
    token = installation.manage("create_api_token", "--clinic", SLUG, "--scopes", "read").split()[0]
    installation.manage("escrow_master_key", str(installation.data_dir / "sheets.html"))
    words = words_of(installation.data_dir / "sheets.html")
    assert len(words) == 3
    files = [path for path in folder.rglob("*") if path.is_file()]
    installation.manage("import_dicom", "--clinic", SLUG, str(folder))
    since = time.time()
    is_copied = lambda: copied(installation.place, len(files), since)  # noqa: E731
    servers.wait_until(is_copied, "The copies", seconds=wait_seconds)
    installation.destroy()

    begun = time.monotonic()
    restored = subprocess.Popen(
        ["bash", "-e", "-c", commands()], cwd=ROOT, env=installation.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert restored.stdin
    assert restored.stdout
    restored.stdin.write(f"{words[2]}\n{words[0]}\n\n")
    restored.stdin.close()
    said = []
    for line in restored.stdout:
        said.append(line)
        if "serves at" in line:
            break
    assert "serves at" in said[-1], "".join(said)
    servers.wait_until(lambda: installation.status("/readyz") == 200, "Viewbox", seconds=180)
    serving = time.monotonic() - begun
    # At once, through the door that viewers use.
    assert instances(installation, token, files[0])
    first_image = time.monotonic() - begun
    kit = installation.data_dir / "kit"
    installation.manage("rescue_kit", str(kit))
    return Restored("".join(said), serving, first_image, frozenset(hashes_of(kit.rglob("IM0*"))))


def hashes_of(paths: Iterator[Path]) -> Iterator[bytes]:
    """SHA-256 of each file."""
    for path in paths:
        yield hashlib.sha256(path.read_bytes()).digest()


def words_of(sheets: Path) -> list[str]:
    """What somebody reads off the sheets."""
    lists = re.findall(r"<ol[^>]*>(.*?)</ol>", sheets.read_text(), re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", each)).split()) for each in lists]


def commands() -> str:
    """The runbook as it stands in the README."""
    found = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text().split(HEADING)[1], re.DOTALL)
    assert found
    return found[1]


def copied(place: Path, count: int, since: float) -> bool:
    """Whether the place got every image, and the database as it was after `since`."""
    blobs = [path for path in place.glob("[0-9a-f][0-9a-f]/*") if not path.name.startswith(".")]
    newest = max((path.stat().st_mtime for path in place.glob("backup/*/*")), default=0)
    return len(blobs) >= count and newest > since + 2


def instances(installation: Lost, token: str, one: Path) -> list[bytes]:
    """Every instance that DICOMweb gives of the study of one of its files."""
    import pydicom

    study = pydicom.dcmread(one, stop_before_pixels=True).StudyInstanceUID
    request = urllib.request.Request(
        f"{installation.base_url}/c/{SLUG}/dicomweb/studies/{study}",
        headers={"Authorization": f"Bearer {token}", "Accept": 'multipart/related; type="application/dicom"'},
    )
    trust = ssl._create_unverified_context()
    with urllib.request.urlopen(request, context=trust, timeout=60) as answer:
        parts: list[bytes] = answer.read().split(b"DICM")
    return parts[1:]


def write_studies(folder: Path, count: int) -> None:
    """Make `count` small CT images, a hundred to a study and a patient."""
    from pydicom import dcmread

    from apps.dicom import phantom
    from apps.dicom.uid import make_uid

    drawn = [dcmread(io.BytesIO(content)) for content in phantom.ct_head(SLICES_OF_A_STUDY, size=64)]
    for first in range(0, count, SLICES_OF_A_STUDY):
        target = folder / f"{first:06}"
        target.mkdir(parents=True)
        study, series = make_uid(), make_uid()
        for number, one in enumerate(drawn[: count - first]):
            one.PatientName, one.PatientID = f"Lost^{first}", f"LOST-{first}"
            one.StudyInstanceUID, one.SeriesInstanceUID = study, series
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = make_uid()
            one.save_as(target / f"{number:04}.dcm")


def main() -> None:
    """Run as a program: exits 1 unless every instance came back bit for bit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=environment.data_dir) as made:
        run, folder = Path(made) / "run", Path(made) / "files"
        run.mkdir()
        write_studies(folder, options.instances)
        installation = Lost(run)
        try:
            restored = lose_and_restore(installation, folder, wait_seconds=1800)
        finally:
            installation.end()
        is_whole = restored.hashes == frozenset(hashes_of(folder.rglob("*.dcm")))
    figures = (
        f"{options.instances} instances: serving after {restored.serving_seconds:.0f} s, first image after "
        f"{restored.first_image_seconds:.0f} s, {len(restored.hashes)} read again and "
        f"{'all' if is_whole else 'NOT all'} equal"
    )
    print(figures)
    add_result(options.report, "everything destroyed (F12)", figures, is_whole)
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
