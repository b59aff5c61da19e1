"""Which files make the database of a moment, which may go, and what does not open (BAK-01, ENC-08)."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.core.management import call_command
from pytest_django import Settings

from apps.backup import postgres
from apps.backup.chain import Link, link_of, plan, superfluous
from apps.backup.engines import Engine
from apps.backup.errors import BackupDamagedError, BackupError, BackupIncompleteError, BackupKeyError
from apps.backup.postgres import number_of
from apps.backup.restoring import restore_database
from apps.backup.shelf import Shelf
from apps.backup.shipping import Shipper
from apps.keys.services import backup_key, forget_clinic_keys
from tests.backup.test_drill import PLACE, place
from tests.s3_server import S3Server, s3_server

__all__ = ["place", "s3_server"]

START = datetime(2026, 3, 1, tzinfo=UTC)
LINE = "20260301T000000Z-abcdef"


def link(level: int, first: int, last: int, *, line: str = LINE, at: float | None = None) -> Link:
    """A file whose last transaction was `at` seconds after the start: one a second, unless told."""
    written = START + timedelta(seconds=last if at is None else at)
    found = link_of(f"{line}/ltx/{level}/{first:016x}-{last:016x}.ltx", int(written.timestamp() * 1e9))
    assert found
    return found


def names(links: list[Link]) -> list[tuple[int, int, int]]:
    return [(each.level, each.first, each.last) for each in links]


FILES = [
    link(9, 1, 10),
    *(link(0, number, number) for number in range(11, 31)),
    link(1, 11, 20),
    link(1, 21, 30),
]


def test_the_newest_database_is_made_of_the_fewest_files() -> None:
    assert names(plan(FILES)) == [(9, 1, 10), (1, 11, 20), (1, 21, 30)]


def test_a_moment_has_nothing_that_came_later_BAK_06() -> None:
    chain = plan(FILES, START + timedelta(seconds=23))
    assert names(chain) == [(9, 1, 10), (1, 11, 20), (0, 21, 21), (0, 22, 22), (0, 23, 23)]


def test_a_gap_and_a_missing_snapshot_are_named_F15() -> None:
    broken = [each for each in FILES if not each.first <= 22 <= each.last or each.is_snapshot]
    with pytest.raises(BackupIncompleteError) as gap:
        plan(broken)
    assert f"{21:016x}" in gap.value.item or f"{22:016x}" in gap.value.item
    with pytest.raises(BackupIncompleteError) as nothing:
        plan(FILES, START + timedelta(seconds=5))
    assert nothing.value.item == "snapshot"


def test_a_restored_database_begins_a_line_of_its_own() -> None:
    later = "20260401T000000Z-abcdef"
    files = [*FILES, link(9, 1, 3, line=later, at=100), link(0, 4, 4, line=later, at=101)]
    assert {each.line for each in plan(files)} == {later}
    assert {each.line for each in plan(files, START + timedelta(seconds=50))} == {LINE}


def test_what_goes_leaves_every_kept_moment_restorable() -> None:
    day = 86400
    files = [link(9, 1, number * 100, at=number * day) for number in range(1, 41)]
    for number in range(1, 40):
        begin, at = number * 100 + 1, number * day
        files += [link(0, begin + each, begin + each, at=at + (each + 1) * 100) for each in range(100)]
        files += [link(1, begin + each, begin + each + 9, at=at + (each + 10) * 100) for each in range(0, 100, 10)]
        files += [link(3, begin, begin + 99, at=at + 10000)]
    now = START + timedelta(days=40, hours=1)
    gone = set(superfluous(files, now, timedelta(days=30)))
    kept = [each for each in files if each not in gone]
    assert len(kept) < len(files) / 4
    assert plan(kept)[-1].last == plan(files)[-1].last
    for days in range(11, 40):
        at = START + timedelta(days=days, hours=20)
        assert plan(kept, at)[-1].last == plan(files, at)[-1].last
    with pytest.raises(BackupIncompleteError):
        plan(kept, START + timedelta(days=5))
    # Keys that were destroyed thirty days ago are in none of what stays.
    assert min(each.written_at for each in kept) >= now - timedelta(days=30)
    # A history that has just begun has no snapshot yet.
    begun = link(0, 1, 1, line="20270101T000000Z-abcdef", at=40 * day)
    assert begun not in superfluous([*kept, begun], now, timedelta(days=30))
    # Where copying stopped, the last copy stays however old it is.
    long_after = now + timedelta(days=365)
    assert names(plan([each for each in kept if each not in superfluous(kept, long_after, timedelta(days=30))]))


def part(path: str, days: float) -> postgres.Part:
    found = postgres.part_of(f"pg-7/pg/{path}", int((START + timedelta(days=days)).timestamp() * 1e9))
    assert found
    return found


def test_postgresql_keeps_the_log_since_its_oldest_kept_base_copy_and_names_a_gap_F15() -> None:
    segments = [f"0000000100000000{number:08X}" for number in range(1, 41)]
    files = [part(f"base-{name}-20260301T000000.tar.gz", day) for day, name in enumerate(segments)]
    files += [part(f"wal/{name}.gz", day + 0.5) for day, name in enumerate(segments[:-1])]
    pieces = [part(f"wal/{segments[-1]}.{offset:08x}", 39.5 + offset / 1e7) for offset in (0, 8192, 16384)]
    files += [*pieces, part(f"wal/{segments[3]}.00002000", 3.2)]
    gone = postgres.superfluous(files, START + timedelta(days=40), timedelta(days=30))
    kept = [each for each in files if each not in gone]
    assert min(each.start for each in kept if each.start) == segments[10]
    assert min(each.segment for each in kept if each.segment) == segments[10]
    assert postgres.plan(kept)[-3:] == pieces
    moment = START + timedelta(days=20, hours=13)
    assert postgres.plan(kept, moment)[0].start == segments[20]
    with pytest.raises(BackupIncompleteError) as gap:
        postgres.plan([each for each in kept if each.segment != segments[25]], moment)
    assert gap.value.item == segments[24]
    assert postgres.superfluous(kept, START + timedelta(days=400), timedelta(days=30))
    assert [each for each in kept if each.start][-1] not in postgres.superfluous(
        kept, START + timedelta(days=400), timedelta(days=30)
    )


def test_log_files_are_counted_across_their_borders() -> None:
    assert number_of("000000010000000200000000") == number_of("0000000100000001000000FF") + 1


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    folder = tmp_path / "stream" / LINE / "ltx" / "0"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"{number:016x}-{number:016x}.ltx").write_bytes(b"CANARY Zerlina " * 10_000 + bytes([number]))
    return tmp_path / "stream"


@pytest.mark.django_db
def test_what_leaves_the_machine_is_sealed_and_opens_with_the_master_key_alone_ENC_08(
    stream: Path, place: Path, tmp_path: Path, settings: Settings
) -> None:
    shipper = Shipper(stream, backup_key(), [PLACE])
    assert shipper.ship() == 2
    assert shipper.ship() == 0
    objects = [path for path in place.rglob("*") if path.is_file()]
    assert len(objects) == 2
    assert not [path for path in objects if b"CANARY" in path.read_bytes() or LINE in str(path)]
    forget_clinic_keys()
    shelf = Shelf(PLACE)
    stored, unreadable = shelf.contents()
    assert not unreadable
    for each in stored:
        shelf.fetch(each, tmp_path / "back")
        assert (tmp_path / "back" / each.facts.path).read_bytes() == (stream / each.facts.path).read_bytes()

    first, second = objects
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    _, unreadable = shelf.contents()
    assert [type(each.error) for each in unreadable] == [BackupDamagedError]
    first.write_bytes(content)

    settings.MASTER_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
    stored, unreadable = shelf.contents()
    assert not stored
    assert {type(each.error) for each in unreadable} == {BackupKeyError}


@pytest.mark.django_db
def test_copies_open_after_the_master_key_was_replaced_ENC_05(
    stream: Path, place: Path, tmp_path: Path, settings: Settings
) -> None:
    old = tmp_path / "old.key"
    old.write_text(settings.MASTER_KEY)
    old.chmod(0o400)
    shipper = Shipper(stream, backup_key(), [PLACE])
    shipper.ship()
    settings.MASTER_KEY_PREVIOUS_FILE = str(old)
    settings.MASTER_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
    call_command("rotate_master_key", stdout=(tmp_path / "said").open("w"))
    settings.MASTER_KEY_PREVIOUS_FILE = ""
    # The next file goes along with the new wrapping of the same key.
    (stream / LINE / "ltx" / "0" / f"{3:016x}-{3:016x}.ltx").write_bytes(b"more")
    shipper.key = backup_key()
    assert shipper.ship() == 1
    stored, unreadable = Shelf(PLACE).contents()
    assert len(stored) == 3
    assert not unreadable


@pytest.mark.django_db
def test_a_place_that_is_away_gets_everything_when_it_is_back_F11(stream: Path, place: Path) -> None:
    shipper = Shipper(stream, backup_key(), [PLACE])
    place.parent.mkdir(exist_ok=True)
    place.write_text("a disk that is not mounted")
    assert shipper.ship() == 0
    [shipment] = shipper.shipments
    assert shipment.code == "storage-unavailable"
    place.unlink()
    shipment.resting_until = 0
    assert shipper.ship() == 2
    assert shipment.code == ""


@pytest.mark.django_db
def test_a_restore_finds_locked_copies_that_a_thief_hid_BAK_02_F16(
    stream: Path, s3_server: S3Server, settings: Settings, tmp_path: Path
) -> None:
    bucket, client = f"locked-{secrets.token_hex(8)}", s3_server.client()
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    settings.STORAGES = settings.STORAGES | {PLACE: s3_server.storage(bucket)}
    settings.REPLICAS = {PLACE: "PORTAL_REPLICA_NAS"}
    assert Shipper(stream, backup_key(), [PLACE]).ship() == 2
    hidden, replaced = [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]]
    client.delete_object(Bucket=bucket, Key=hidden)
    client.put_object(Bucket=bucket, Key=replaced, Body=b"pay, and you get it back")
    # A drill looks at what is there; a restore, which knows of the locks, at what was there.
    assert not restorable(tmp_path)
    settings.REPLICA_LOCK_DAYS = {PLACE: 30}
    assert len(restorable(tmp_path)) == 2


def restorable(work: Path) -> list[str]:
    """Return the files of which a restore would choose."""
    engine = Mock(spec=Engine)
    engine.choose.side_effect = BackupIncompleteError("chosen", "snapshot")
    with pytest.raises(BackupError):
        restore_database(engine, work / "fetched")
    return [each.facts.path for call in engine.choose.call_args_list for each in call.args[0]]
