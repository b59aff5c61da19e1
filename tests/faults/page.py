"""What the upload page and the server behind it cost: thousands of files, a large one, an archive of many members.

`python -m tests.faults.page [--files 5000] [--gigabytes 2] [--members 20000]` from the checkout; each 0 leaves that
part out. Prints one line of figures for each: the longest task of the page, the memory of its tab, how far the memory
of web server and workers rose above idle, and how long it took. `TEST_STACK=servers` does the same on servers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tests.environment  # noqa: F401 - chooses the stack before Django is set up

FILE_BYTES = 512 * 1024
MIB = 1 << 20
# Chromium counts tasks of the page's thread that take longer than 50 ms.
LISTEN = """() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
    }).observe({type: 'longtask', buffered: true});
}"""


class Watch(threading.Thread):
    """Samples the memory of web server, workers and tab twice a second."""

    def __init__(self, installation: Any) -> None:
        super().__init__(daemon=True)
        from tests.faults import processes

        self.processes = processes
        supervisor = installation.process.pid
        self.web = processes.find(supervisor, "web worker")
        self.supervisor = supervisor
        self.stopped = threading.Event()
        self.idle = self._sample()
        self.peak = dict(self.idle)

    def _sample(self) -> dict[str, int]:
        find = self.processes.find
        workers = [pid for child in find(self.supervisor, "worker child") for pid in self.processes.family_of(child)]
        tabs = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if "--type=renderer" in self.processes.command_of(int(folder.name))
            and is_below(int(folder.name), os.getpid())
        ]
        groups = {"web": find(self.supervisor, "web worker"), "worker": workers, "tab": tabs}
        return {name: max((resident(pid) for pid in pids), default=0) for name, pids in groups.items()}

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            for name, size in self._sample().items():
                self.peak[name] = max(self.peak[name], size)

    def __str__(self) -> str:
        rise = {name: (self.peak[name] - self.idle[name]) // MIB for name in ("web", "worker")}
        return f"web +{rise['web']} MiB, worker +{rise['worker']} MiB, tab {self.peak['tab'] // MIB} MiB"


def busiest_task(trace: bytes) -> float:
    """Return the most processor time, in ms, of any task of the page's thread: what a busy machine adds is left out."""
    events = json.loads(trace)["traceEvents"]
    main = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
    tasks = [e["tdur"] for e in events if e["name"] == "RunTask" and "tdur" in e and (e["pid"], e["tid"]) in main]
    return max(tasks, default=0) / 1000


def resident(pid: int) -> int:
    """Resident bytes of a process that it shares with none, 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss:",)))


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process descends from another."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def write_files(folder: Path, count: int) -> None:
    """A folder of series of a hundred images of half a megabyte."""
    from io import BytesIO

    from pydicom import dcmread

    from apps.dicom.uid import make_uid
    from tests.ingest.files import part10

    template = dcmread(BytesIO(part10()))
    template.Rows = template.Columns = 512
    template.PixelData = os.urandom(FILE_BYTES)
    study = make_uid()
    for number in range(count):
        if number % 100 == 0:
            series = make_uid()
            (folder / f"S{number // 100:04}").mkdir(parents=True)
        template.StudyInstanceUID, template.SeriesInstanceUID = study, series
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = make_uid()
        template.InstanceNumber = number + 1
        template.save_as(folder / f"S{number // 100:04}" / f"IM{number:05}")


def write_large(path: Path, gigabytes: float) -> None:
    """A ZIP with one stored member that is no image, of this size, and one image."""
    from tests.ingest.files import part10

    block = os.urandom(MIB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        with packed.open("noise.bin", "w", force_zip64=True) as member:
            for _ in range(int(gigabytes * 1024) - 1):
                member.write(block)
        packed.writestr("IM1", part10())


def write_members(path: Path, members: int) -> None:
    """A ZIP of so many small images of one series."""
    from tests.ingest.files import series

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for number, data in enumerate(series(members)):
            packed.writestr(f"DICOM/{number // 500:03}/IM{number:05}", data)


def upload(installation: Any, access: Any, chosen: Path, part: str, seconds: float) -> str:
    """Upload through Chromium until everything has an outcome; the figures."""
    from playwright.sync_api import sync_playwright

    from tests.faults.load import SLUG
    from tests.flows.conftest import CHROMIUM

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        context = browser.new_context(ignore_https_errors=True)
        cookie = {"name": access.cookie, "value": access.session_key, "url": installation.base_url}
        context.add_cookies([cookie | {"secure": True, "httpOnly": True}])
        page = context.new_page()
        page.goto(f"{installation.base_url}/c/{SLUG}/upload/")
        page.evaluate(LISTEN)
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline"])
        watch = Watch(installation)
        watch.start()
        begun = time.monotonic()
        page.locator(f"[data-part={part}]").set_input_files(chosen)
        page.locator("#upload[data-done=true]").wait_for(timeout=seconds * 1000)
        took = time.monotonic() - begun
        watch.stopped.set()
        longest = page.evaluate("() => window.longest")
        busiest = busiest_task(browser.stop_tracing())
        said = page.locator("[data-part=done]").inner_text()
        rows = page.locator(".upload-row").count()
        browser.close()
    tasks = f"longest task {longest:.0f} ms ({busiest:.0f} ms of processor)"
    return f"{took:.0f} s; {tasks}; {watch}; {rows} rows drawn; {said}"


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1500)
    options = parser.parse_args()
    import django

    import tests.environment as environment

    django.setup()
    from tests.faults.load import Access
    from tests.flows.installation import Installation

    run = Path(environment.data_dir) / "page"
    run.mkdir(parents=True)
    installation = Installation(run / "installation")
    installation.start()
    try:
        access = Access(installation)
        parts: list[tuple[str, float, Callable[[Path, Any], None], str]] = [
            (f"{options.files} files of 0.5 MiB", options.files, write_files, "folder"),
            (f"one file of {options.gigabytes} GiB", options.gigabytes, write_large, "files"),
            (f"a ZIP of {options.members} images", options.members, write_members, "files"),
        ]
        for name, amount, write, part in parts:
            if not amount:
                continue
            chosen = run / ("folder" if part == "folder" else "chosen.zip")
            write(chosen, amount)
            print(f"{name}: {upload(installation, access, chosen, part, options.seconds)}", flush=True)
            shutil.rmtree(chosen) if chosen.is_dir() else chosen.unlink()
    finally:
        installation.stop()


if __name__ == "__main__":
    main()
