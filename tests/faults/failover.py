"""Destroys the first place while twenty viewers read and somebody uploads (F11).

`python -m tests.faults.failover [--viewers 20] [--report FILE]`: an installation of its own with a second disk. Told is
how long it took every viewer to see an image again, how many requests failed, whether every image was the right one,
and which acknowledged instances are gone: those younger than the time of one copy, if any (RPO).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import secrets
import shutil
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

import tests.environment as environment  # chooses the stack before Django is set up

SECONDS = 20.0
PAUSE_SECONDS = 0.25
"""Between two images: twenty people who scroll, not twenty benchmarks."""
BOUND_FIRST_IMAGE_SECONDS = 15.0
BOUND_FAILED = 0.01
BOUND_RPO_SECONDS = 5.0


@dataclass
class Report:
    """What the viewers saw."""

    requests: int = 0
    failed: int = 0
    wrong_bytes: int = 0
    first_image_seconds: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    rpo_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Bounds of time that were missed: no matter for a machine that does other things at once."""

    def __str__(self) -> str:
        return (
            f"first image again after {self.first_image_seconds:.1f} s at most; {self.failed} of {self.requests} "
            f"requests failed ({100 * self.failed / max(1, self.requests):.2f} %); {self.lost} of {self.acknowledged} "
            f"acknowledged instances lost, the oldest {self.rpo_seconds:.1f} s before; {self.wrong_bytes} "
            f"wrong images; {len(self.wrong)} violations, {len(self.late)} bounds missed"
        )


class Viewer(threading.Thread):
    """Reads one image after the other and notes how it went."""

    def __init__(self, access: Any, images: dict[str, str], number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.session, self.stopped = access.api(), stop
        self.session.headers["Accept"] = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        self.images, self.choice = images, random.Random(number)
        self.answers: list[tuple[float, float, str]] = []
        """(begun, ended, "good", "failed" or "wrong") of each request."""

    def run(self) -> None:
        """Read until told to stop."""
        from tests.faults.load import parts_of

        urls = sorted(self.images)
        while not self.stopped.is_set():
            url = self.choice.choice(urls)
            begun = time.monotonic()
            try:
                response = self.session.get(url, timeout=60)
                parts = [hashlib.sha256(part).hexdigest() for part in parts_of(response)]
                outcome = "failed" if not parts else "good" if parts == [self.images[url]] else "wrong"
            except requests.RequestException:
                outcome = "failed"
            self.answers.append((begun, time.monotonic(), outcome))
            self.stopped.wait(PAUSE_SECONDS * self.choice.uniform(0.5, 1.5))


class TimedLedger:
    """What was acknowledged, and when."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, tuple[float, float, str]] = {}
        """By URL: when the request began, when it was answered, and the SHA-256."""

    def send(self, access: Any, session: requests.Session, count: int) -> None:
        """Store a study of so many instances and note it once the answer is there."""
        from apps.dicom.uid import make_uid
        from tests.ingest.files import part10

        study, series = make_uid(), make_uid()
        for _ in range(count):
            uid = make_uid()
            pixels = secrets.token_bytes(2 * 256 * 256)
            content = part10(
                SOPInstanceUID=uid, StudyInstanceUID=study, SeriesInstanceUID=series, Rows=256, Columns=256,
                PixelData=pixels,
            )  # fmt: skip
            url = f"{access.root}/dicomweb/studies"
            headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
            begun = time.monotonic()
            answer = session.post(url, data=content, headers=headers, timeout=60)
            if answer.status_code == 200:
                place = f"{url}/{study}/series/{series}/instances/{uid}"
                self.acknowledged[place] = (begun, time.monotonic(), hashlib.sha256(content).hexdigest())

    @property
    def images(self) -> dict[str, str]:
        """URL and SHA-256 of everything acknowledged so far."""
        return {url: digest for url, (_, _, digest) in dict(self.acknowledged).items()}


def second_disk(installation: Any, folder: Path) -> None:
    """Give an installation that was not started yet a second place."""
    installation.environment |= {"PORTAL_REPLICAS": "second", "PORTAL_REPLICA_SECOND_DIR": str(folder)}


def run(installation: Any, viewers: int, seconds: float = SECONDS) -> Report:
    """Read and upload, destroy the first place in the middle, and compare; the installation is running."""
    from tests import servers
    from tests.faults.load import Access

    access = Access(installation)
    ledger, sender = TimedLedger(), access.api()
    for _ in range(3):
        ledger.send(access, sender, 8)
    servers.wait_until(lambda: _waiting(installation) == 0, "the copies", seconds=60)
    stop = threading.Event()
    readers = [Viewer(access, ledger.images, number, stop) for number in range(viewers)]
    uploads = threading.Thread(target=_upload, args=(access, ledger, stop), daemon=True)
    for thread in [*readers, uploads]:
        thread.start()
    time.sleep(seconds / 3)
    _destroy(installation.data_dir / "blobs")
    destroyed = time.monotonic()
    time.sleep(seconds * 2 / 3)
    stop.set()
    for thread in [*readers, uploads]:
        thread.join(90)
    return _report(access, ledger, readers, destroyed)


def _upload(access: Any, ledger: TimedLedger, stop: threading.Event) -> None:
    session = access.api()
    while not stop.is_set():
        with suppress(requests.RequestException):
            ledger.send(access, session, 1)
        stop.wait(PAUSE_SECONDS)


def _destroy(blobs: Path) -> None:
    """Everything gone at once, and a file where the folder was, so that nothing can be written there either."""
    gone = blobs.with_name("blobs.gone")
    while not blobs.is_file():
        blobs.rename(gone)
        # A writer may make the folder again in between: then once more.
        with suppress(IsADirectoryError):
            blobs.write_bytes(b"")
        shutil.rmtree(gone, ignore_errors=True)


def _waiting(installation: Any) -> int:
    code = (
        "from apps.clinics.scoping import every_clinic\nfrom apps.storage.models import Blob\n"
        "with every_clinic(): print(Blob.objects.filter(state='stored', copied_at=None).count())"
    )
    return int(installation.manage("shell", "-v", "0", "-c", code).split()[-1])


def _report(access: Any, ledger: TimedLedger, readers: list[Viewer], destroyed: float) -> Report:
    from tests.faults.load import parts_of

    report = Report()
    for reader in readers:
        report.requests += len(reader.answers)
        report.failed += sum(outcome == "failed" for _, _, outcome in reader.answers)
        report.wrong_bytes += sum(outcome == "wrong" for _, _, outcome in reader.answers)
        seen = [ended for begun, ended, outcome in reader.answers if begun > destroyed and outcome == "good"]
        report.first_image_seconds = max(report.first_image_seconds, min(seen, default=1e9) - destroyed)
    session = access.api()
    session.headers["Accept"] = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    report.acknowledged = len(ledger.acknowledged)
    later = 0
    for url, (begun, at, digest) in ledger.acknowledged.items():
        later += begun > destroyed
        parts = [hashlib.sha256(part).hexdigest() for part in parts_of(session.get(url, timeout=60))]
        if parts == [digest]:
            continue
        report.lost += 1
        # What was answered while the place went had been written there before.
        report.rpo_seconds = max(report.rpo_seconds, destroyed - at)
        if begun > destroyed or parts:
            report.wrong.append(f"{url} was acknowledged without the first place and is {'wrong' if parts else 'gone'}")
    if not later:
        report.wrong.append("nothing was taken after the first place was gone")
    if report.first_image_seconds > BOUND_FIRST_IMAGE_SECONDS:
        report.late.append(f"a viewer waited for {report.first_image_seconds:.1f} s")
    if report.failed >= BOUND_FAILED * report.requests:
        report.late.append(f"{report.failed} of {report.requests} requests failed")
    if report.rpo_seconds > BOUND_RPO_SECONDS:
        report.late.append(f"what was acknowledged {report.rpo_seconds:.1f} s before is lost")
    if report.wrong_bytes:
        report.wrong.append(f"{report.wrong_bytes} wrong images were served")
    return report


def main() -> None:
    """Run as a program: exits 1 when a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    import django

    django.setup()
    from tests.faults.results import add_result
    from tests.flows.installation import Installation

    run_dir = Path(environment.data_dir)
    installation = Installation(run_dir / "failover")
    second_disk(installation, run_dir / "second")
    installation.start()
    try:
        report = run(installation, options.viewers)
    finally:
        installation.stop()
    print(report)
    for line in [*report.wrong, *report.late][:50]:
        print(f"  {line}")
    name = f"first place destroyed under {options.viewers} viewers (F11)"
    add_result(options.report, name, str(report), not (report.wrong or report.late))
    sys.exit(1 if report.wrong or report.late else 0)


if __name__ == "__main__":
    main()
