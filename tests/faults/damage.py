"""Damages stored blobs in six ways; compares what is served, and what lies there afterwards, with a ledger.

`python -m tests.faults.damage --count 1000 [--seed N] [--report FILE]`: the long form (F13, F14), in a database of its
own on two disks. The ledger knows nothing of the system: from a number it makes each blob's content anew, and it has
the SHA-256 of what lay on the disk before anything was touched.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import tests.environment as environment  # chooses the stack before Django is set up

LARGEST = 300_000
BATCH = 100
"""So many blobs are damaged before the scrub and the repair have their turn."""


def flip(path: Path, other: bytes, choice: random.Random) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    path.write_bytes(data)


def cut(path: Path, other: bytes, choice: random.Random) -> None:
    """Shorter by something, or empty."""
    os.truncate(path, choice.choice([0, path.stat().st_size - 1, choice.randrange(path.stat().st_size)]))


def lengthen(path: Path, other: bytes, choice: random.Random) -> None:
    """Longer."""
    with path.open("ab") as file:
        file.write(choice.randbytes(choice.randrange(1, 5000)))


def blank(path: Path, other: bytes, choice: random.Random) -> None:
    """A run of zeroes, as a disk gives back for a sector it lost."""
    data = bytearray(path.read_bytes())
    start = choice.randrange(len(data)) // 512 * 512
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


def swap(path: Path, other: bytes, choice: random.Random) -> None:
    """Another blob's bytes, whole and authentic, under this one's name."""
    path.write_bytes(other)


def remove(path: Path, other: bytes, choice: random.Random) -> None:
    """Gone."""
    path.unlink()


KINDS: dict[str, Callable[[Path, bytes, random.Random], None]] = {
    "bit flipped": flip,
    "cut short": cut,
    "lengthened": lengthen,
    "zeroes": blank,
    "swapped": swap,
    "removed": remove,
}


@dataclass
class Entry:
    """What the ledger knows of one blob."""

    seed: int
    size_bytes: int
    ciphertext_sha256: str = ""

    def content(self) -> bytes:
        """Make what was stored once more."""
        return random.Random(self.seed).randbytes(self.size_bytes)


@dataclass
class Report:
    """What was done and what came of it."""

    seed: int
    damaged: Counter[str] = field(default_factory=Counter)
    found_by: Counter[str] = field(default_factory=Counter)
    served_bytes: int = 0
    repaired: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.damaged.items())
        found = ", ".join(f"{count} by the {finder}" for finder, count in self.found_by.items())
        return (
            f"seed {self.seed}: {self.damaged.total()} damages ({kinds}); found {found}; {self.repaired} repaired; "
            f"{self.served_bytes} bytes served meanwhile; {len(self.wrong)} violations"
        )


class Run:
    """One clinic's blobs on two disks; needs the clinic's scope."""

    def __init__(self, clinic: Any, disks: tuple[Any, Any], seed: int, blob_count: int) -> None:
        from apps.storage.services import copy_due, write_blobs

        self.disks, self.choice, self.report = disks, random.Random(seed), Report(seed)
        entries = [Entry(seed * 100_000 + n, self.choice.randrange(1000, LARGEST)) for n in range(blob_count)]
        self.blobs: dict[str, Any] = {}
        self.ledger: dict[str, Entry] = {}
        for at in range(0, blob_count, 50):
            chosen = entries[at : at + 50]
            for entry, blob in zip(chosen, write_blobs(clinic, "file", [e.content() for e in chosen]), strict=True):
                entry.ciphertext_sha256 = self._digest(disks[0], blob)
                self.ledger[blob.public_id], self.blobs[blob.public_id] = entry, blob
        assert copy_due() == blob_count

    def damage(self, count: int) -> None:
        """Damage so many copies, each kind in turn, at most one of a blob; serve, find, repair, compare."""
        kinds = list(KINDS)
        left = count
        while left:
            chosen = self.choice.sample(sorted(self.blobs), min(left, BATCH, len(self.blobs)))
            hit = {}
            for number, public_id in enumerate(chosen):
                kind = kinds[number % len(kinds)]
                hit[public_id] = place = self.choice.randrange(2)
                self._damage(public_id, place, kind)
            self._serve(hit)
            self._find_and_repair(hit)
            left -= len(chosen)

    def damage_both(self, count: int) -> None:
        """Damage both copies of some: nothing may be served, and every one of them is marked."""
        from apps.storage.errors import StorageError
        from apps.storage.models import Blob
        from apps.storage.services import copy_due, iterate_blob

        chosen = self.choice.sample(sorted(self.blobs), count)
        for number, public_id in enumerate(chosen):
            for place in (0, 1):
                self._damage(public_id, place, list(KINDS)[number % len(KINDS)])
            try:
                served = b"".join(iterate_blob(self.blobs[public_id]))
                self.report.wrong.append(f"{public_id}: {len(served)} bytes served with both copies damaged")
            except StorageError:
                self.report.found_by["reader"] += 2
        copy_due()
        marked = set(
            Blob.objects.filter(public_id__in=chosen, lost_at__isnull=False).values_list("public_id", flat=True)
        )
        self.report.wrong += [f"{each} is lost and not marked" for each in chosen if each not in marked]

    def _damage(self, public_id: str, place: int, kind: str) -> None:
        blob = self.blobs[public_id]
        other = self.choice.choice([each for each in self.blobs if each != public_id])
        donor = self.disks[1 - place].path_of(self.blobs[other].object_name)
        path = self.disks[place].path_of(blob.object_name)
        while self._digest(self.disks[place], blob) == self.ledger[public_id].ciphertext_sha256:
            # Zeroes over zeroes, say, are no damage.
            KINDS[kind](path, donor.read_bytes() if donor.exists() else b"x", self.choice)
        self.report.damaged[kind] += 1

    def _serve(self, hit: dict[str, int]) -> None:
        """Read some whole and of others a piece, as a viewer reads a frame: what comes must be what was stored."""
        from apps.storage.errors import StorageError
        from apps.storage.services import iterate_blob, open_blob

        for public_id in hit:
            entry, blob = self.ledger[public_id], self.blobs[public_id]
            content = entry.content()
            way = self.choice.randrange(3)
            try:
                if way == 0:
                    served, wanted = b"".join(iterate_blob(blob)), content
                elif way == 1:
                    start = self.choice.randrange(entry.size_bytes)
                    with open_blob(blob) as reader:
                        served, wanted = reader.pread(start, 50_000), content[start : start + 50_000]
                else:
                    continue
            except StorageError as error:
                self.report.wrong.append(f"{public_id}: not served although one copy is whole: {error.code}")
                continue
            self.report.served_bytes += len(served)
            if served != wanted:
                self.report.wrong.append(f"{public_id}: wrong bytes served")

    def _find_and_repair(self, hit: dict[str, int]) -> None:
        from django.utils import timezone

        from apps.storage import scrub
        from apps.storage.models import Copy
        from apps.storage.services import copy_due

        by_reader = self._known_damaged()
        Copy.objects.update(checked_at=timezone.now() - timedelta(days=2))
        while scrub.scrub_due(timedelta(minutes=5), seconds=60):
            pass
        known = self._known_damaged()
        self.report.found_by["reader"] += len(by_reader)
        self.report.found_by["scrub"] += len(known - by_reader)
        places = ("blobs", "replica-second")
        true = {(public_id, places[place]) for public_id, place in hit.items()}
        self.report.wrong += [f"{each} is damaged and was not found" for each in true - known]
        self.report.wrong += [f"{each} was called damaged and is not" for each in known - true]
        copy_due()
        for public_id in hit:
            digests = {self._digest(disk, self.blobs[public_id]) for disk in self.disks}
            if digests == {self.ledger[public_id].ciphertext_sha256}:
                self.report.repaired += 1
            else:
                self.report.wrong.append(f"{public_id} was not repaired bit for bit")
        self.report.wrong += [f"{each} is still called damaged" for each in self._known_damaged()]

    def _known_damaged(self) -> set[tuple[str, str]]:
        from apps.storage.models import Copy

        rows = Copy.objects.filter(state=Copy.State.DAMAGED)
        return set(rows.values_list("blob__public_id", "place"))

    @staticmethod
    def _digest(disk: Any, blob: Any) -> str:
        try:
            return hashlib.sha256(disk.path_of(blob.object_name).read_bytes()).hexdigest()
        except FileNotFoundError:
            return ""


def main() -> None:
    """Run as a program: exits 1 when anything wrong was served, missed or not repaired."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--blobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    import django

    django.setup()
    from django.core.management import call_command

    from apps.accounts.services import found_clinic
    from apps.audit.services import Context
    from apps.clinics.scoping import clinic_scope
    from tests.faults.disks import two_disks
    from tests.faults.results import add_result

    call_command("migrate", verbosity=0)
    clinic = found_clinic("damaged", "Damaged", context=Context.system("tests"))
    with clinic_scope(clinic), two_disks(Path(environment.data_dir)) as disks:
        run = Run(clinic, disks, options.seed, options.blobs)
        run.damage(options.count)
        run.damage_both(min(30, options.blobs))
    print(run.report)
    for line in run.report.wrong[:50]:
        print(f"  {line}")
    add_result(options.report, "damaged blobs (F13, F14)", str(run.report), not run.report.wrong)
    sys.exit(1 if run.report.wrong else 0)


if __name__ == "__main__":
    main()
