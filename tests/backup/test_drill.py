"""A drill believes nothing: whatever is spoiled in a backup makes it fail and is named (BAK-05, F15)."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from apps.backup import litestream
from apps.backup.chain import link_of
from apps.backup.drilling import child_environment
from apps.backup.examining import Wanted
from apps.backup.sealing import FIXED_BYTES
from apps.backup.shelf import Shelf, Stored
from apps.backup.shipping import Shipper
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys.services import backup_key, load_master_key
from apps.storage.models import Blob
from apps.storage.services import copy_due
from apps.studies.models import Study
from tests.studies.files import index, part10

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="test_postgres.py does it there"),
]

PLACE = "replica-nas"


@dataclass
class Backup:
    """One place with everything in it, which may be spoiled: files and what they are."""

    folder: Path
    wanted: Wanted

    @property
    def shelf(self) -> Path:
        return self.folder / "backup"

    def stored(self) -> list[Stored]:
        """The snapshot, and the changes that came after it."""
        found, _ = Shelf(PLACE).contents()
        links = {each.facts.path: link_of(each.facts.path, 0) for each in found}
        [snapshot] = [each for each in found if links[each.facts.path].level == 9]
        last = links[snapshot.facts.path].last
        after = [each for each in found if links[each.facts.path].first > last]
        return [snapshot, *sorted(after, key=lambda each: each.facts.path)]

    def object(self, number: int) -> Path:
        """The object of the snapshot (0), or of the first, second ... change after it."""
        return self.shelf / self.stored()[number].name

    def blobs(self) -> list[Path]:
        """The blobs that instances are made of, as files."""
        with every_clinic():
            return [self.folder / blob.object_name for blob in Blob.objects.filter(kind="instance").order_by("pk")]


def flip(path: Path, at: int = -40) -> None:
    """Damage one bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def swap(first: Path, second: Path) -> None:
    """Put each in the other's place."""
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def cut(path: Path, left: int | None = None) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if left is None else left])


def spoil_wrapping(backup: Backup) -> None:
    for path in backup.shelf.glob("*/*"):
        flip(path, FIXED_BYTES + 20)


def only_snapshot(backup: Backup) -> None:
    """What a copy looks like that stopped long ago."""
    for each in backup.stored()[1:]:
        (backup.shelf / each.name).unlink()


# What is done to the backup, and which item the drill must name.
SPOILED: dict[str, tuple[Callable[[Backup], Any], str]] = {
    "snapshot missing": (lambda b: b.object(0).unlink(), "snapshot"),
    "snapshot: one bit": (lambda b: flip(b.object(0)), "{object 0}"),
    "snapshot: its first bytes": (lambda b: flip(b.object(0), 1), "{object 0}"),
    "snapshot cut": (lambda b: cut(b.object(0)), "{object 0}"),
    "snapshot empty": (lambda b: cut(b.object(0), 0), "{object 0}"),
    "snapshot longer": (lambda b: put(b.object(0), b.object(0).read_bytes() + b"more"), "{object 0}"),
    "change in the middle missing": (lambda b: b.object(2).unlink(), "transaction"),
    "change: one bit": (lambda b: flip(b.object(2)), "{object 2}"),
    "change cut by a byte": (lambda b: cut(b.object(2), -1), "{object 2}"),
    "two changes swapped": (lambda b: swap(b.object(1), b.object(2)), "{object 1}"),
    "stale": (only_snapshot, "{object 0} backup-stale"),
    "nothing there": (lambda b: shutil.rmtree(b.shelf), "snapshot"),
    "a stranger's object": (lambda b: put(b.object(1), secrets.token_bytes(5000)), "{object 1}"),
    "wrapped keys damaged": (spoil_wrapping, "{object 0}"),
    "blob missing": (lambda b: b.blobs()[0].unlink(), "{blob 0}"),
    "blob: one bit": (lambda b: flip(b.blobs()[1]), "{blob 1}"),
    "blob cut": (lambda b: cut(b.blobs()[0]), "{blob 0}"),
    "blobs swapped": (lambda b: swap(b.blobs()[0], b.blobs()[1]), "{blob 0}"),
    "blob empty": (lambda b: cut(b.blobs()[2], 0), "{blob 2}"),
    "all blobs gone": (lambda b: [path.unlink() for path in b.blobs()], "{blob 0}"),
}
# What is wrong within the database before it is copied: SQL, and the item.
SPOILED_DATABASE = {
    "a study missing": ("DELETE FROM studies_study WHERE id = (SELECT max(id) FROM studies_study)", "study"),
    "a clinic's key destroyed": ("UPDATE keys_clinickey SET wrapped = NULL", "{blob 0}"),
    "a wrapped key damaged": ("UPDATE storage_blob SET wrapped_key = zeroblob(61)", "{blob 0}"),
    "hash of another file": ("UPDATE storage_blob SET sha256 = zeroblob(32)", "{blob 0}"),
    "pixels elsewhere": ("UPDATE studies_instance SET pixel_index = zeroblob(40)", "{blob 0}"),
    "keys of another installation": ("UPDATE keys_clinickey SET master_fingerprint = '0123456789abcdef'", "master key"),
}


@pytest.fixture
def place(tmp_path: Path, settings: Settings) -> Path:
    """An empty second place."""
    disk = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "nas")}}
    settings.STORAGES = settings.STORAGES | {PLACE: disk}
    settings.REPLICAS = {PLACE: "PORTAL_REPLICA_NAS"}
    return tmp_path / "nas"


def ship(database: Path, stream: Path, *changes: str) -> None:
    """Copy a database to the place as Litestream and the shipper do, a file for each change."""
    configuration = stream.with_suffix(".json")
    target = stream / litestream.line_of(stream)
    replica = {"type": "file", "path": str(target)}
    configuration.write_text(json.dumps({"dbs": [{"path": str(database), "replica": replica}]}))
    command = [litestream.program(), "replicate", "-once", "-config", str(configuration)]
    subprocess.run([*command, "-force-snapshot"], check=True, capture_output=True)
    for change in changes:
        with closing(sqlite3.connect(database)) as changing:
            changing.execute(change)
            changing.commit()
        subprocess.run(command, check=True, capture_output=True)
    Shipper(stream, backup_key(), [PLACE]).ship()


CHANGES = [f"UPDATE clinics_clinic SET idle_timeout_minutes = {minutes}" for minutes in (16, 17, 18)]


@pytest.fixture
def backup(transactional_db: None, clinic_a: Clinic, place: Path, tmp_path: Path) -> Backup:
    """Two studies, copied whole; the database copied in four files."""
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1"), part10("ct2", InstanceNumber=2))
        index(clinic_a, part10("ct3", study="second", series="other"))
        newest = list(Study.objects.values_list("public_id", "number_of_study_related_instances"))
    copy_due()
    database = Path(str(connection.settings_dict["NAME"]))
    ship(database, tmp_path / "stream", *CHANGES)
    backup = Backup(place, Wanted(PLACE, 50, 2, [list(each) for each in newest], timezone.now().isoformat()))
    last = datetime.fromtimestamp(backup.stored()[-1].facts.modified_ns / 1e9, UTC)
    return replace(backup, wanted=replace(backup.wanted, not_before=last.isoformat()))


class Examiner:
    """The drill's process, asked again and again."""

    def __init__(self, run: Path) -> None:
        self.work = run / "work"
        environment = child_environment(PLACE, run / "data", load_master_key())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.backup.examiner"],
            cwd=django_settings.BASE_DIR, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def examine(self, wanted: Wanted, **more: str) -> dict[str, Any]:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.process.stdin.write(json.dumps({"wanted": asdict(wanted), "work": str(self.work), **more}) + "\n")
        self.process.stdin.flush()
        report = json.loads(self.process.stdout.readline())
        assert "crashed" not in report, report
        return report


@pytest.fixture
def examiner(place: Path, tmp_path: Path) -> Iterator[Examiner]:
    examiner = Examiner(tmp_path)
    yield examiner
    examiner.process.stdin.close()
    examiner.process.wait(10)


def named(report: dict[str, Any]) -> str:
    return "\n".join(f"{each['item']} {each['code']}" for each in report["failures"])


def test_every_spoiled_backup_fails_and_is_named_BAK_05_F15(backup: Backup, examiner: Examiner, tmp_path: Path) -> None:
    report = examiner.examine(backup.wanted)
    assert report["failures"] == []
    assert (report["study_count"], report["instance_count"], report["frame_count"]) == (2, 3, 3)
    whole = tmp_path / "whole"
    backup.folder.rename(whole)
    for kind, (spoil, item) in SPOILED.items():
        shutil.rmtree(backup.folder, ignore_errors=True)
        shutil.copytree(whole, backup.folder)
        # An object that does not open cannot say which file it was: then its own name is what can be named.
        items = {each.name: f"{{object {number}}}" for number, each in enumerate(backup.stored())}
        items |= {each.facts.path: f"{{object {number}}}" for number, each in enumerate(backup.stored())}
        items |= {path.name: f"{{blob {number}}}" for number, path in enumerate(backup.blobs())}
        spoil(backup)
        found = named(examiner.examine(backup.wanted))
        for name, meant in items.items():
            found = found.replace(name, meant)
        assert item in found, f"{kind}: {item} is not in {found!r}"
    shutil.rmtree(backup.folder)
    whole.rename(backup.folder)

    other = base64.b64encode(secrets.token_bytes(32)).decode()
    assert "backup-key" in named(examiner.examine(backup.wanted, master_key=other))

    thin = replace(backup.wanted, study_count=40)
    assert "sample drill-thin" in named(examiner.examine(thin))

    late = replace(backup.wanted, not_before=(timezone.now() + timedelta(minutes=5)).isoformat())
    assert "backup-stale" in named(examiner.examine(late))


def test_what_is_wrong_within_the_database_fails_too_F15(backup: Backup, examiner: Examiner, tmp_path: Path) -> None:
    database = Path(str(connection.settings_dict["NAME"]))
    blobs = [path.name for path in backup.blobs()]
    for number, (kind, (statement, item)) in enumerate(SPOILED_DATABASE.items()):
        shutil.rmtree(backup.shelf)
        copy = tmp_path / f"copy-{number}.sqlite3"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = WAL")
            target.execute(statement)
            target.commit()
        ship(copy, tmp_path / f"stream-{number}")
        found = named(examiner.examine(backup.wanted))
        wanted = item.replace("{blob 0}", blobs[0])
        assert wanted in found, f"{kind}: {wanted} is not in {found!r}"
