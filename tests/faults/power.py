"""Cuts the power of a disk again and again while instances arrive; what was acknowledged must be there then (F4).

`python -m tests.faults.power --rounds 300 [--seed N] [--report FILE]`: a whole data directory (database, keys, blobs)
lies on an ext4 image. In each round a process of its own takes instances as STOW-RS does and says which ones it
acknowledged; at a random moment the file system is shut down without its journal (FS_IOC_SHUTDOWN), so that what the
disk was not made to keep is gone. The image is mounted again and everything in the ledger, which lies elsewhere, is
read. What is acknowledged while the file system goes down was heard by nobody and need not be there, only be whole: an
fsync that is under way when the journal is aborted returns without an error and without having kept anything (seen on
Linux 6.18 with a bare loop of pwrite and fdatasync; never for one that returned before). Needs CAP_SYS_ADMIN, a loop
device and mkfs.ext4: without one of them the run fails and names it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import math
import os
import random
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import tests.environment as environment  # chooses the stack before Django is set up

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN, linux/fs.h
WITHOUT_JOURNAL = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
CAP_SYS_ADMIN = 21
IMAGE_BYTES = 768 << 20
GROUP = 6
LOOK_BACK = 60
"""Of the rounds before the last, so many instances are read again each time; at the end all of them."""


class PrivilegeMissingError(Exception):
    """What this machine does not let us do."""


def missing_privilege() -> str:
    """Return what is missing for cutting the power of a file system; empty when nothing is."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if not int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1:
        return "CAP_SYS_ADMIN (to mount an image, and for FS_IOC_SHUTDOWN)"
    if not Path("/dev/loop-control").exists():
        return "a loop device (/dev/loop-control)"
    return "" if shutil.which("mkfs.ext4") else "mkfs.ext4 (Debian: e2fsprogs)"


class Disk:
    """An ext4 image, mounted where the data directory is."""

    def __init__(self, image: Path, folder: Path) -> None:
        if missing := missing_privilege():
            raise PrivilegeMissingError(missing)
        self.image, self.folder = image, folder
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(image))

    def mount(self) -> None:
        """Mount it; after a cut this replays the journal."""
        _run("mount", "-o", "loop", str(self.image), str(self.folder))

    def cut(self) -> tuple[float, float]:
        """Shut the file system down at once: nothing more is written, the journal neither; return from when to when."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        began = time.monotonic()
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL))
        except PermissionError as error:
            raise PrivilegeMissingError("FS_IOC_SHUTDOWN is refused (CAP_SYS_ADMIN)") from error
        finally:
            os.close(folder)
        return began, time.monotonic()

    def unmount(self) -> None:
        """Unmount it, once nobody has anything open there."""
        for _ in range(200):
            if subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        _run("umount", str(self.folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrivilegeMissingError(f"{command[0]}: {done.stderr.strip()}")


class Child:
    """A process that works on the mounted disk and tells by lines what it did."""

    def __init__(self, work: Callable[[TextIO], None]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            os.setsid()
            try:
                with os.fdopen(writing, "w", buffering=1) as out:
                    work(out)
                os._exit(0)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode() if os.environ.get("POWER_DEBUG") else b"")
                os._exit(1)
        os.close(writing)
        self.lines = os.fdopen(reading, "rb", buffering=0)
        self._rest = b""

    def read(self, seconds: float | None, until: str = "") -> list[list[str]]:
        """Return the words of the lines up to one that begins so, up to its end, or for so long."""
        deadline = None if seconds is None else time.monotonic() + seconds
        found: list[list[str]] = []
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self.lines], [], [], wait)[0]:
                return found
            data = self.lines.read(65536)
            if not data:
                return found
            *lines, self._rest = (self._rest + data).split(b"\n")
            found += [line.decode().split(" ", 4) for line in lines]
            if any(line[0] == until for line in found):
                return found

    def end(self) -> None:
        """Kill it with all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.lines.close()
        os.waitpid(self.pid, 0)


class Run:
    """Round after round on one disk, and the ledger."""

    def __init__(self, disk: Disk, seed: int) -> None:
        self.disk, self.seed, self.choice = disk, seed, random.Random(seed)
        self.ledger: dict[str, str] = {}
        self.unheard: dict[str, str] = {}
        self.unheard_count = 0
        self.wrong: list[str] = []
        self.cuts = 0

    def prepare(self, database: Path | None) -> None:
        """Make the installation's database on the disk, or put a ready one there."""
        self.disk.mount()
        if database:
            shutil.copyfile(database, self.disk.folder / "viewbox.sqlite3")
        child = Child(_prepare)
        is_ready = ["ready"] in child.read(None)
        child.end()
        if not is_ready:
            raise AssertionError("the installation was not prepared")
        self.disk.unmount()

    def round(self, *, is_last: bool = False) -> None:
        """Mount, look whether all is there, then take instances until the power is cut."""
        self.disk.mount()
        newest = list(self.ledger)[-400:]
        others = [] if is_last else self.choice.sample(sorted(self.ledger), min(LOOK_BACK, len(self.ledger)))
        wanted = self.ledger if is_last else {uid: self.ledger[uid] for uid in {*newest, *others}}
        seed = self.choice.randrange(1 << 31)
        child = Child(lambda out: _check_and_take(out, wanted, self.unheard, seed, is_last=is_last))
        lines = child.read(300, until="checked")
        if not any(line[0] == "checked" for line in lines):
            self.wrong.append(f"round {self.cuts}: the installation did not come up after the cut")
        began = ended = math.inf
        if not is_last:
            lines += child.read(60, until="ack")
            lines += child.read(self.choice.uniform(0.0, 0.8))
            began, ended = self.disk.cut()
            self.cuts += 1
        lines += child.read(30 if not is_last else None)
        child.end()
        # What is there now was kept, and stays; what is not never will be.
        self.ledger |= {line[1]: self.unheard[line[1]] for line in lines if line[0] == "there"}
        self.unheard.clear()
        for line in lines:
            if line[0] == "ack" and float(line[3]) > ended:
                self.wrong.append(f"round {self.cuts}: {line[1]} was taken after the power was gone")
            elif line[0] == "ack":
                (self.ledger if float(line[4]) < began else self.unheard)[line[1]] = line[2]
                self.unheard_count += line[1] in self.unheard
            elif line[0] == "wrong":
                self.wrong.append(f"round {self.cuts}: {' '.join(line[1:])}")
        self.disk.unmount()

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.cuts} power cuts, {len(self.ledger)} instances acknowledged, "
            f"{self.unheard_count} more while it went down, {len(self.wrong)} violations"
        )


def run(rounds: int, seed: int, folder: Path, image: Path, database: Path | None = None) -> Run:
    """Cut the power so often and return what came of it; the folder is the data directory."""
    disk = Disk(image, folder)
    one = Run(disk, seed)
    try:
        one.prepare(database)
        for number in range(rounds):
            one.round()
            if number % 25 == 24:
                print(one, flush=True)
        one.round(is_last=True)
        if not one.ledger:
            one.wrong.append("nothing was acknowledged")
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)
        image.unlink()
    return one


def _prepare(out: TextIO) -> None:
    from django.core.management import call_command

    from apps.accounts.services import found_clinic
    from apps.audit.services import Context

    call_command("migrate", verbosity=0)
    found_clinic("power", "Power", context=Context.system("tests"))
    out.write("ready\n")


def _check_and_take(out: TextIO, wanted: dict[str, str], unheard: dict[str, str], seed: int, *, is_last: bool) -> None:
    from apps.access.services import import_principal
    from apps.clinics.models import Clinic
    from apps.clinics.scoping import clinic_scope

    clinic = Clinic.objects.get(slug="power")
    with clinic_scope(clinic):
        out.writelines(f"wrong {fault}\n" for fault in _faults(out, wanted, unheard, is_last=is_last))
        out.write("checked\n")
        if not is_last:
            _take(out, import_principal(clinic, "tests"), random.Random(seed))


def _faults(out: TextIO, wanted: dict[str, str], unheard: dict[str, str], *, is_last: bool) -> Iterator[str]:
    """Read what was acknowledged, say what of the unheard is there; ask the database and the audit trail if whole."""
    from django.db import connection

    from apps.audit import triggers
    from apps.audit.services import seal_events, verify_trail
    from apps.storage.errors import StorageError
    from apps.storage.services import iterate_blob
    from apps.studies.models import Instance

    rows = {row.sop_instance_uid: row for row in Instance.objects.select_related("blob")}
    yield from (f"{uid} was acknowledged and is not found" for uid in wanted if uid not in rows)
    out.writelines(f"there {uid}\n" for uid in unheard if uid in rows)
    for uid, digest in (wanted | unheard).items():
        if uid not in rows:
            continue
        try:
            content = b"".join(iterate_blob(rows[uid].blob))
        except StorageError as error:
            yield f"{uid} is not read: {error.code}"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            yield f"{uid} has other bytes"
    with connection.cursor() as cursor:
        answer = cursor.execute("PRAGMA quick_check").fetchone()[0]
    if answer != "ok":
        yield f"the database: {answer}"
    # As beat does every minute: seals are cut off too.
    seal_events(everything=is_last)
    yield from (f"the audit trail: {report.problem.message}" for report in verify_trail() if report.problem)
    if disarmed := triggers.missing(connection):
        yield f"the audit trail: triggers are missing: {disarmed}"


def _take(out: TextIO, principal: Any, choice: random.Random) -> None:
    """Store groups of instances until the disk is gone; each is told once it was acknowledged."""
    from apps.dicom.uid import make_uid
    from apps.ingest.models import UploadBatch
    from apps.ingest.services import open_batch, store_now
    from tests.ingest.files import part10

    while True:
        study, series = make_uid(), make_uid()
        files = {}
        for _ in range(GROUP):
            uid, side = make_uid(), choice.choice([16, 16, 64, 400])
            shape = {"Rows": side, "Columns": side, "PixelData": choice.randbytes(2 * side * side)}
            files[uid] = part10(SOPInstanceUID=uid, StudyInstanceUID=study, SeriesInstanceUID=series, **shape)
        begun = time.monotonic()
        batch = open_batch(principal, UploadBatch.Source.STOW, is_one_request=True)
        outcomes = store_now(principal, batch, [[content] for content in files.values()])
        for (uid, content), outcome in zip(files.items(), outcomes, strict=True):
            if outcome.outcome == "stored":
                out.write(f"ack {uid} {hashlib.sha256(content).hexdigest()} {begun} {time.monotonic()}\n")


def main() -> None:
    """Run as a program: exits 1 when anything acknowledged was lost, 2 when the machine does not allow it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--database", type=Path, help="a database with all migrations, to begin with")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    from tests.faults.results import add_result

    # The disk lies where the settings look for the data directory; the image and the ledger are outside it.
    folder = Path(environment.data_dir)
    image = folder.with_name("power.img")
    os.environ["PORTAL_MIN_FREE_BYTES"] = "0"  # the image is small on purpose
    import django

    try:
        if missing := missing_privilege():
            raise PrivilegeMissingError(missing)
        django.setup()
        result = run(options.rounds, options.seed, folder, image, options.database)
    except PrivilegeMissingError as error:
        print(f"The power cannot be cut here, this is missing: {error}", file=sys.stderr)
        add_result(options.report, "power cuts (F4)", f"not run: {error} is missing", is_good=False)
        sys.exit(2)
    print(result)
    for line in result.wrong[:50]:
        print(f"  {line}")
    add_result(options.report, "power cuts (F4)", str(result), not result.wrong)
    print(
        json.dumps(
            {
                "cuts": result.cuts,
                "acknowledged": len(result.ledger),
                "unheard": result.unheard_count,
                "wrong": len(result.wrong),
            }
        )
    )
    sys.exit(1 if result.wrong else 0)


if __name__ == "__main__":
    main()
