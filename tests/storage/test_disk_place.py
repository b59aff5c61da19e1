"""The local disk: durable before it is acknowledged, private, clean after every failure."""

import errno
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from apps.storage.disk_place import DiskPlace
from apps.storage.errors import CorruptBlobError, PlaceFullError, PlaceUnavailableError
from tests.storage.test_places import new_name, store


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes what reaches the disk, in order."""
    noted: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noting_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        noted.append(f"fsync {'folder' if path.is_dir() else path.suffix} {path.name if path.is_dir() else ''}".strip())
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        noted.append(f"rename {path.suffix}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)
    return noted


def files_below(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()]


def test_bytes_then_name_then_folder_become_durable(disk: DiskPlace, calls: list[str]) -> None:
    name = new_name()
    writer = disk.begin(name)
    writer.write(b"x")
    calls.clear()
    writer.commit()
    assert calls == ["fsync .part", "rename .part", f"fsync folder {name[:2]}"]


def test_new_folders_become_durable_before_what_is_in_them(disk: DiskPlace, calls: list[str]) -> None:
    disk.begin(new_name()).abort()
    assert calls == [f"fsync folder {disk.root.parent.name}", f"fsync folder {disk.root.name}"]


def test_group_is_durable_before_any_gets_its_name(disk: DiskPlace, calls: list[str]) -> None:
    names = [new_name() for _ in range(20)]
    for name in names:
        disk.make_folder(disk.path_of(name).parent)
    calls.clear()
    disk.write_many([(name, b"x") for name in names])
    folders = sorted({f"fsync folder {name[:2]}" for name in names})
    assert calls[:20] == ["fsync .part"] * 20
    assert calls[20:40] == ["rename .part"] * 20
    assert sorted(calls[40:]) == folders


def test_only_the_owner_reads_whatever_the_umask_is(disk: DiskPlace) -> None:
    old_umask = os.umask(0)
    try:
        name = store(disk, b"x")
    finally:
        os.umask(old_umask)
    path = disk.path_of(name)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.stat().st_mode & 0o777 for each in (path.parent, disk.root)} == {0o700}


def test_full_disk_says_so_and_keeps_nothing(disk: DiskPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = disk.begin(new_name())
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PlaceFullError):
        writer.write(b"x")
    writer.abort()
    with pytest.raises(PlaceFullError):
        disk.write_many([(new_name(), b"x"), (new_name(), b"y")])
    assert files_below(disk.root) == []


def test_failing_fsync_is_no_success_and_keeps_nothing(disk: DiskPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = disk.begin(new_name())
    writer.write(b"x")
    for name in (names := [new_name() for _ in range(5)]):
        disk.make_folder(disk.path_of(name).parent)

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(PlaceUnavailableError, match="Input/output error"):
        writer.commit()
    writer.abort()
    with pytest.raises(PlaceUnavailableError):
        disk.write_many([(name, b"x") for name in names])
    assert files_below(disk.root) == []


def test_short_writes_and_reads_are_completed(disk: DiskPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pread = os.write, os.pread
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, min(length, 4), offset))
    name = store(disk, b"0123456789")
    assert bytes(disk.open(name, 10).read(1, 8)) == b"12345678"


def test_link_in_place_of_an_object_is_not_followed(disk: DiskPlace, tmp_path: Path) -> None:
    name = store(disk, b"0123456789")
    (tmp_path / "elsewhere").write_bytes(b"0123456789")
    disk.path_of(name).unlink()
    disk.path_of(name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlaceUnavailableError):
        disk.open(name, 10)


def test_truncated_file_is_refused_when_it_is_opened_ENC_02(disk: DiskPlace) -> None:
    name = store(disk, b"0123456789")
    os.truncate(disk.path_of(name), 9)
    with pytest.raises(CorruptBlobError):
        disk.open(name, 10)


def test_killed_writer_leaves_only_what_the_sweep_removes(disk: DiskPlace) -> None:
    child = os.fork()
    if child == 0:
        writer = disk.begin(new_name())
        writer.write(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [path.suffix for path in files_below(disk.root)] == [".part"]
    assert list(disk.list_objects()) == []
    assert disk.remove_unfinished(timezone.now() + timedelta(hours=2)) == 1
    assert files_below(disk.root) == []


def test_readers_and_writers_leave_no_descriptor_open(disk: DiskPlace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    name = store(disk, b"x")
    disk.begin(new_name()).abort()
    disk.write_many([(new_name(), b"x") for _ in range(70)])
    disk.open(name, 1).close()
    with pytest.raises(CorruptBlobError):
        disk.open(name, 2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_free_bytes_are_those_of_the_disk(disk: DiskPlace) -> None:
    assert 0 < disk.free_bytes() < 2**60
