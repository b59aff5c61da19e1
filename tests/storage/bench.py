"""What encryption costs: the same files copied with fsync, written and read through the storage, in one run.

`python -m tests.storage.bench [--files 200] [--report FILE]`, on a quiet machine. Told are: plain copy with fsync and
`write_blobs` and `iterate_blob`, instances of 512 kB; decrypting cached data on one core; a frame of 0.5 MB out of an
object of 1 GB.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import tests.environment as environment  # chooses the stack before Django is set up

FILE_BYTES = 512 * 1024
GIB = 1 << 30
GROUP = 50


def plain_copy(contents: list[bytes], folder: Path) -> float:
    """Write each as a file with fsync and rename, then the folder; seconds."""
    folder.mkdir()
    begun = time.perf_counter()
    for number, content in enumerate(contents):
        aside = folder / f".{number}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.close(descriptor)
        aside.rename(folder / f"{number}")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - begun


def keep(path: Path, content: Iterable[bytes]) -> None:
    """Write one file with fsync."""
    with path.open("wb") as out:
        for chunk in content:
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def plain_read(folder: Path, count: int, target: Path) -> float:
    """Copy each file to another with fsync; seconds."""
    begun = time.perf_counter()
    for number in range(count):
        keep(target, [(folder / f"{number}").read_bytes()])
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from apps.accounts.services import found_clinic
    from apps.audit.services import Context
    from apps.clinics.scoping import clinic_scope
    from apps.storage.services import iterate_blob, open_blob, write_blob, write_blobs
    from tests.faults.disks import two_disks
    from tests.faults.results import add_result

    call_command("migrate", verbosity=0)
    clinic = found_clinic("bench", "Bench", context=Context.system("tests"))
    root = Path(environment.data_dir)
    contents = [secrets.token_bytes(FILE_BYTES) for _ in range(options.files)]
    total = options.files * FILE_BYTES / 1e6
    with clinic_scope(clinic), two_disks(root):
        shares: dict[str, list[float]] = {"write": [], "read": []}
        for turn in range(3):
            copied = plain_copy(contents, root / f"plain{turn}")
            begun = time.perf_counter()
            blobs = [
                blob
                for at in range(0, len(contents), GROUP)
                for blob in write_blobs(clinic, "file", contents[at : at + GROUP])
            ]
            written = time.perf_counter() - begun
            reread = plain_read(root / f"plain{turn}", options.files, root / "copy")
            begun = time.perf_counter()
            for blob in blobs:
                keep(root / "decrypted", iterate_blob(blob))
            read = time.perf_counter() - begun
            shares["write"].append(copied / written)
            shares["read"].append(reread / read)
            print(
                f"write {total / written:.0f} MB/s, plain {total / copied:.0f}; "
                f"read {total / read:.0f} MB/s, plain {total / reread:.0f}"
            )
        chunk = secrets.token_bytes(8 << 20)
        large = write_blob(clinic, "file", (chunk for _ in range(GIB // len(chunk))))
        for _ in iterate_blob(large, length=256 << 20):
            pass
        begun = time.process_time()
        for _ in iterate_blob(large, length=256 << 20):
            pass
        decrypt = (256 << 20) / 1e6 / (time.process_time() - begun)
        choice, frames = random.Random(1), []
        for _ in range(200):
            offset = choice.randrange(GIB - FILE_BYTES)
            begun = time.perf_counter()
            with open_blob(large) as reader:
                reader.pread(offset, FILE_BYTES)
            frames.append(1000 * (time.perf_counter() - begun))
    write, read = (statistics.median(shares[name]) for name in ("write", "read"))
    frame = statistics.quantiles(frames, n=100)
    figures = (
        f"write {100 * write:.0f} %, read {100 * read:.0f} % of plain copy with fsync; decrypt {decrypt:.0f} MB/s a "
        f"core; a frame of 1 GB: median {frame[49]:.2f} ms, 99th percentile {frame[98]:.2f} ms"
    )
    print(figures)
    add_result(options.report, "cost of encryption", figures, write >= 0.6 and read >= 0.6 and decrypt >= 500)


if __name__ == "__main__":
    main()
