"""The sealed kit: opened with age and a passphrase alone, it tells nobody anything and goes on where it broke off."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from apps.audit.models import AuditEvent
from apps.backup import age_format, kit_key, kit_places
from apps.backup.errors import KitDamagedError, KitKeyError
from apps.backup.kit_manifest import MANIFEST
from apps.backup.kit_places import BucketPlace, FolderPlace, KitPlace
from apps.backup.sealed_kit import verify_sealed_kit, write_sealed_kit
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.disk_place import DiskPlace
from apps.storage.places import place_named
from apps.storage.services import bucket_at, write_blob
from apps.studies.models import Document, Instance, Study
from tests.s3_server import S3Server, s3_server
from tests.studies.files import index, part10

__all__ = ["s3_server"]

PASSPHRASE = "marble otter ladder quince velvet thunder"
CANARY = "Zebrafinch"
PDF = b"%PDF-1.4 a letter about Zebrafinch" + bytes(range(256)) * 8


@pytest.fixture
def contents() -> list[bytes]:
    """Images of two studies; each has pixels and a name to look for."""
    return [
        part10(name, study=study, InstanceNumber=number, PatientName=f"{CANARY}^Zoe", StudyDescription=f"{CANARY} head")
        for number, (name, study) in enumerate((("ct1", "one"), ("ct2", "one"), ("ct3", "two")), 1)
    ]


@pytest.fixture
def studies(clinic_a: Clinic, contents: list[bytes]) -> list[Study]:
    with clinic_scope(clinic_a):
        index(clinic_a, *contents)
        found = list(Study.objects.order_by("study_date", "pk"))
        Document.objects.create(
            clinic=clinic_a,
            study=found[0],
            blob=write_blob(clinic_a, "document", [PDF]),
            title=f"{CANARY} letter",
            media_type="application/pdf",
        )
    return found


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    return path


@pytest.fixture(scope="session")
def known_key() -> tuple[str, bytes]:
    """An identity, and it sealed with the passphrase: what age does there takes seconds on purpose."""
    identity = str(pyrage.x25519.Identity.generate())
    return identity, pyrage.passphrase.encrypt(f"{identity}\n".encode(), PASSPHRASE)


@pytest.fixture
def quick_key(known_key: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch) -> str:
    """Every new kit gets the same key at once, and the passphrase opens it at once."""
    monkeypatch.setattr(kit_key, "new_identity", lambda: known_key[0])
    monkeypatch.setattr(kit_key, "seal_with", lambda passphrase, content: known_key[1])
    monkeypatch.setattr(kit_key, "open_with", lambda passphrase, sealed: known_key[0].encode())
    return known_key[0]


@pytest.fixture
def bucket(s3_server: S3Server, settings: Settings) -> str:
    """An empty bucket, and the settings by which the command reaches it."""
    name = s3_server.make_bucket()
    options = dict(s3_server.storage(name)["OPTIONS"])
    del options["bucket_name"]
    settings.KIT_S3 = options
    return name


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> KitPlace:
    if request.param == "folder":
        return FolderPlace(tmp_path / "kit")
    return BucketPlace(bucket_at(request.getfixturevalue("bucket"), "kits/alpha", settings.KIT_S3))


def fresh(place: KitPlace) -> KitPlace:
    """The same place, as another process finds it."""
    return FolderPlace(place.folder) if isinstance(place, FolderPlace) else BucketPlace(place.bucket)


def never() -> str:
    raise AssertionError("Nobody should be asked.")


def write(clinic: Clinic, place: KitPlace, passphrase: str = "") -> list[tuple[int, int, tuple[str, ...]]]:
    found = write_sealed_kit(clinic, fresh(place), passphrase=passphrase, ask=lambda: PASSPHRASE)
    return [(written.new_count, written.kept_count, written.failed) for written in found]


def paths_of(place: KitPlace) -> list[str]:
    if isinstance(place, FolderPlace):
        return sorted(str(path.relative_to(place.folder)) for path in place.folder.rglob("*") if path.is_file())
    return sorted(place.bucket.names())


def content_of(place: KitPlace, path: str) -> bytes:
    return b"".join(fresh(place).read(path))


def opened(place: KitPlace, path: str, identity: str) -> dict[str, bytes]:
    """Open an archive with age and an ordinary ZIP reader."""
    plain = pyrage.decrypt(content_of(place, path), [pyrage.x25519.Identity.from_str(identity)])
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def archives(place: KitPlace) -> list[str]:
    return [path for path in paths_of(place) if path.startswith("studies/")]


def run(target: str | Path, *options: str) -> str:
    out = io.StringIO()
    call_command("rescue_kit", str(target), *options, stdout=out, stderr=out)
    return out.getvalue()


def test_a_kit_opens_with_the_passphrase_and_age_alone_BAK_04(
    studies: list[Study], clinic_a: Clinic, contents: list[bytes], passphrase_file: Path, tmp_path: Path
) -> None:
    said = run(tmp_path / "kit", "--sealed", "--clinic", "alpha", "--passphrase-file", str(passphrase_file))
    place = FolderPlace(tmp_path / "kit" / "alpha")
    assert "6 sealed files are whole" in said
    assert place.folder.stat().st_mode & 0o077 == 0
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in place.folder.glob("*.age"))
    # From here on nothing of ours.
    key = pyrage.passphrase.decrypt((place.folder / "KEY.age").read_bytes(), PASSPHRASE).decode()
    identity = next(line for line in key.splitlines() if line.startswith("AGE-SECRET-KEY-"))
    index_files = opened(place, "INDEX.zip.age", identity)
    files: dict[str, bytes] = {}
    for path in archives(place):
        files |= opened(place, path, identity)
    images = [content for name, content in files.items() if "/DICOM/" in name]
    assert sorted(images) == sorted(contents)
    assert [content for name, content in files.items() if "/DOCUMENT/" in name] == [PDF]
    assert sum(name.endswith("/DICOMDIR") for name in files) == 2
    page = index_files["INDEX.HTM"].decode()
    assert f"{CANARY}" in page
    sums = dict(line.split("  ")[::-1] for line in index_files["SHA256SUMS"].decode().splitlines())
    for study in studies:
        [folder] = {
            name.rsplit("/", 1)[0] for name in files if name.endswith("SHA256SUMS") and study.public_id[:8] in name
        }
        assert f'href="{folder}/INDEX.HTM"' in page
        assert f"studies/{study.public_id}.zip.age" in page
        assert sums[f"{folder}/SHA256SUMS"] == hashlib.sha256(files[f"{folder}/SHA256SUMS"]).hexdigest()
        listed = dict(line.split("  ")[::-1] for line in files[f"{folder}/SHA256SUMS"].decode().splitlines())
        assert {f"{folder}/{name}" for name in listed} == {name for name in files if name.startswith(f"{folder}/")} - {
            f"{folder}/SHA256SUMS"
        }
        for name, sha256 in listed.items():
            assert hashlib.sha256(files[f"{folder}/{name}"]).hexdigest() == sha256
    readme = (place.folder / "README.txt").read_text()
    assert "https://age-encryption.org" in readme
    assert "age --decrypt --identity KEY.age --output INDEX.zip INDEX.zip.age" in readme
    event = AuditEvent.objects.get(verb="clinic.exported", clinic_id=clinic_a.pk)
    assert event.details == {"study_count": 2, "is_sealed": True}
    said = run(tmp_path / "kit", "--verify", "--clinic", "alpha", "--passphrase-file", str(passphrase_file))
    assert f"6 sealed files are whole, and so are the {len(files) - 2 + 1} files in them" in said


def test_a_busy_computer_is_no_wrong_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = pyrage.passphrase.encrypt(b"secret", PASSPHRASE)
    costly = re.sub(rb"(-> scrypt \S+) \d+", rb"\1 30", sealed)
    with pytest.raises(pyrage.DecryptError) as refusal:
        pyrage.passphrase.decrypt(costly, PASSPHRASE)
    naps: list[float] = []
    monkeypatch.setattr(age_format, "sleep", naps.append)
    # The library takes the moment that it times for the computer's speed, then the computer is idle again.
    answers: list[Exception | bytes] = [refusal.value, refusal.value, b"secret"]

    def decrypt(*_: object) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(age_format.passphrase, "decrypt", decrypt)
        assert age_format.open_with(PASSPHRASE, sealed) == b"secret"
    assert len(naps) == 2
    with pytest.raises(age_format.TooCostlyError):
        age_format.open_with(PASSPHRASE, costly)
    naps.clear()
    with pytest.raises(age_format.NotOpenedError) as wrong:
        age_format.open_with("another passphrase", sealed)
    assert not isinstance(wrong.value, age_format.TooCostlyError)
    assert naps == []


def test_nothing_of_a_patient_is_in_the_kit_or_passes_a_disk_BAK_04(
    studies: list[Study],
    clinic_a: Clinic,
    contents: list[bytes],
    quick_key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is written to a file while the kit is made is looked at, whether it stays or not."""
    place = FolderPlace(tmp_path / "kit")
    seen: list[bytes] = []
    original = kit_places._FileWriter.write
    monkeypatch.setattr(
        kit_places._FileWriter, "write", lambda self, data: (seen.append(bytes(data)), original(self, data))[1]
    )
    opened_paths: set[str] = set()

    def hear(event: str, arguments: tuple) -> None:
        if listening and event == "open" and isinstance(arguments[0], str | Path) and arguments[2] & os.O_WRONLY:
            opened_paths.add(str(arguments[0]))

    listening = True
    sys.addaudithook(hear)
    write(clinic_a, place)
    listening = False
    # Beside the kit only the encrypted store is written to (pictures, metadata), and the database.
    store = place_named("blobs")
    blobs = [store.root] if isinstance(store, DiskPlace) else []
    ours = tuple(map(str, [place.folder, *blobs]))
    assert not {path for path in opened_paths if not path.startswith(ours) and "sqlite" not in path}
    assert any(path.startswith(str(place.folder)) for path in opened_paths)
    assert sum(map(len, seen)) > sum(map(len, contents))
    pixels = contents[0][-20_000:-19_900]
    assert len(set(pixels)) > 10
    everything = [
        *seen,
        *(path.read_bytes() for top in (tmp_path, *blobs) for path in top.rglob("*") if path.is_file()),
    ]
    everything += [str(path).encode() for path in tmp_path.rglob("*")]
    for secret in (
        CANARY.encode(),
        CANARY.upper().encode(),
        b"P-17",
        b"A-4711",
        b"DICM",
        pixels,
        PDF[20:80],
        quick_key.encode(),
    ):
        assert not any(secret in each for each in everything)
    lines = [json.loads(line) for line in (place.folder / MANIFEST).read_text().splitlines()]
    assert {key for line in lines for key in line} == {"path", "sha256", "size_bytes", "content"}


def test_what_broke_off_goes_on_without_the_passphrase_and_rewrites_nothing_BAK_04(
    studies: list[Study], clinic_a: Clinic, quick_key: str, place: KitPlace
) -> None:
    run_ = write_sealed_kit(clinic_a, fresh(place), passphrase="", ask=lambda: PASSPHRASE)
    next(run_)
    run_.close()
    [first] = archives(place)
    before = content_of(place, first)
    assert "INDEX.zip.age" not in paths_of(place)
    assert verify_sealed_kit(fresh(place), PASSPHRASE).plain_count > 0
    found = write_sealed_kit(clinic_a, fresh(place), passphrase="", ask=never)
    assert [(written.new_count, written.kept_count) for written in found] == [(0, 1), (1, 0)]
    assert content_of(place, first) == before
    assert len(archives(place)) == 2
    # A third run has nothing to do, and leaves one manifest.
    assert write(clinic_a, place) == [(0, 1, ()), (0, 1, ())]
    assert [path for path in paths_of(place) if path.startswith(MANIFEST)] == [MANIFEST]
    # Sealed anew are a study that changed, and one whose archive is not what it was.
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct9", study="two", InstanceNumber=9))
    [second] = set(archives(place)) - {first}
    assert write(clinic_a, place) == [(0, 1, ()), (1, 0, ())]
    assert sum("/DICOM/" in name for name in opened(place, second, quick_key)) == 2
    place.write(first, [b"cut"])
    assert write(clinic_a, place) == [(1, 0, ()), (0, 1, ())]
    assert verify_sealed_kit(fresh(place), PASSPHRASE).sealed_count == 6


def test_damage_is_named_with_and_without_the_passphrase_BAK_04(
    studies: list[Study], clinic_a: Clinic, quick_key: str, place: KitPlace
) -> None:
    write(clinic_a, place)
    path = archives(place)[1]
    content = bytearray(content_of(place, path))
    content[-500] ^= 1
    place.write(path, [bytes(content)])
    for passphrase in ("", PASSPHRASE):
        with pytest.raises(KitDamagedError, match=f"{path} is missing or damaged"):
            verify_sealed_kit(fresh(place), passphrase)
    content[-500] ^= 1
    place.write(path, [bytes(content[:-100])])
    for passphrase in ("", PASSPHRASE):
        with pytest.raises(KitDamagedError, match=path):
            verify_sealed_kit(fresh(place), passphrase)


def test_whoever_rewrites_the_manifest_does_not_get_past_the_lists_inside(
    studies: list[Study], clinic_a: Clinic, quick_key: str, tmp_path: Path
) -> None:
    """An archive that is left out, or sealed again with another image in it, is found with the passphrase."""
    place = FolderPlace(tmp_path / "kit")
    write(clinic_a, place)
    path = archives(place)[0]
    manifest = (place.folder / MANIFEST).read_text()
    (place.folder / MANIFEST).write_text("\n".join(line for line in manifest.splitlines() if path not in line) + "\n")
    assert verify_sealed_kit(place).sealed_count == 5
    with pytest.raises(KitDamagedError, match="SHA256SUMS is missing or damaged"):
        verify_sealed_kit(place, PASSPHRASE)
    recipient = pyrage.x25519.Identity.from_str(quick_key).to_public()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in opened(place, path, quick_key).items():
            archive.writestr(name, content if "/DICOM/" not in name else content[:-1] + b"?")
    forged = pyrage.encrypt(out.getvalue(), [recipient])
    (place.folder / path).write_bytes(forged)
    lines = [json.loads(line) for line in manifest.splitlines()]
    for line in lines:
        if line["path"] == path:
            line["sha256"] = hashlib.sha256(forged).hexdigest()
    (place.folder / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verify_sealed_kit(place).sealed_count == 6
    with pytest.raises(KitDamagedError, match=f"{path}: .*/IM000001 is missing or damaged"):
        verify_sealed_kit(place, PASSPHRASE)


def test_a_wrong_passphrase_is_said_BAK_04(
    studies: list[Study],
    clinic_a: Clinic,
    known_key: tuple[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kit_key, "new_identity", lambda: known_key[0])
    monkeypatch.setattr(kit_key, "seal_with", lambda passphrase, content: known_key[1])
    place = FolderPlace(tmp_path / "alpha")
    write(clinic_a, place)
    wrong = tmp_path / "wrong"
    wrong.write_text("another six words nobody ever chose")
    for options in (["--verify"], ["--sealed"]):
        with pytest.raises(CommandError, match=r"The passphrase does not open KEY.age"):
            run(tmp_path, "--clinic", "alpha", *options, "--passphrase-file", str(wrong))


def test_weak_and_missing_passphrases_are_refused_before_anything_is_written(
    studies: list[Study], clinic_a: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "passphrase"
    for weak, sentence in (
        ("short", "too short: take at least 20 characters"),
        ("passwordpasswordpassword", "too easy to guess"),
        ("", "file is empty"),
    ):
        path.write_text(weak)
        with pytest.raises(CommandError, match=sentence):
            run(tmp_path / "kit", "--sealed", "--clinic", "alpha", "--passphrase-file", str(path))
    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path / "kit", "--sealed", "--clinic", "alpha", "--passphrase-file", str(tmp_path / "nowhere"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CommandError, match="start at a terminal"):
        run(tmp_path / "kit", "--sealed", "--clinic", "alpha")
    with pytest.raises(CommandError, match="add --sealed"):
        run(tmp_path / "kit", "--clinic", "alpha", "--passphrase-file", str(path))
    assert not list((tmp_path / "kit" / "alpha").glob("*"))


def test_at_a_terminal_the_passphrase_is_asked_for_twice_and_once_for_all_clinics(
    studies: list[Study], clinic_b: Clinic, quick_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers: Iterator[str] = iter([PASSPHRASE, "not the same"])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("apps.backup.management.commands.rescue_kit.getpass", lambda prompt: next(answers))
    with pytest.raises(CommandError, match="two different passphrases"):
        run(tmp_path / "kit", "--sealed")
    answers = iter([PASSPHRASE, PASSPHRASE])
    assert run(tmp_path / "kit", "--sealed").count("sealed files are whole") == 2
    assert next(answers, None) is None


def test_a_recipient_that_somebody_slipped_in_is_not_sealed_for(
    studies: list[Study], clinic_a: Clinic, quick_key: str, tmp_path: Path
) -> None:
    place = FolderPlace(tmp_path / "kit")
    write(clinic_a, place)
    ours = (place.folder / "RECIPIENT.txt").read_text()
    stranger = str(pyrage.x25519.Identity.generate().to_public())
    (place.folder / "RECIPIENT.txt").write_text(ours.replace(ours.split()[0], stranger))
    with pytest.raises(KitKeyError, match=r"RECIPIENT\.txt is missing or was not written by this portal"):
        write(clinic_a, place)
    assert write(clinic_a, place, PASSPHRASE) == [(0, 1, ()), (0, 1, ())]
    assert (place.folder / "RECIPIENT.txt").read_text() == ours
    assert verify_sealed_kit(place).sealed_count == 6


def test_what_cannot_be_read_is_named_and_the_rest_is_sealed(
    studies: list[Study], clinic_a: Clinic, quick_key: str, tmp_path: Path
) -> None:
    with clinic_scope(clinic_a):
        blob = Instance.objects.filter(series__study=studies[0]).order_by("pk")[1].blob
    place_named(blob.place).delete([blob.object_name])
    place = FolderPlace(tmp_path / "kit")
    [(new, _kept, failed), other] = write(clinic_a, place)
    assert new == 1
    assert any("IM000002" in each for each in failed)
    assert other == (1, 0, ())
    names = [name for path in archives(place) for name in opened(place, path, quick_key)]
    assert sum("/DICOM/" in name for name in names) == 2
    assert verify_sealed_kit(place, PASSPHRASE).plain_count == sum("SHA256SUMS" not in name for name in names) + 1


def test_sealed_and_plain_kits_are_not_mixed(
    studies: list[Study], clinic_a: Clinic, quick_key: str, tmp_path: Path, passphrase_file: Path
) -> None:
    given = ["--passphrase-file", str(passphrase_file)]
    run(tmp_path / "plain", "--clinic", "alpha")
    with pytest.raises(CommandError, match="go on without --sealed"):
        run(tmp_path / "plain", "--clinic", "alpha", "--sealed", *given)
    with pytest.raises(CommandError, match="not sealed"):
        run(tmp_path / "plain", "--clinic", "alpha", "--verify", *given)
    run(tmp_path / "sealed", "--clinic", "alpha", "--sealed", *given)
    with pytest.raises(CommandError, match="A sealed kit lies there"):
        run(tmp_path / "sealed", "--clinic", "alpha")
    (tmp_path / "other" / "alpha").mkdir(parents=True)
    (tmp_path / "other" / "alpha" / "letters.txt").write_text("mine")
    with pytest.raises(CommandError, match="Something else"):
        run(tmp_path / "other", "--clinic", "alpha", "--sealed", *given)


def test_a_bucket_takes_a_sealed_kit_and_no_plain_one_BAK_04(
    studies: list[Study], clinic_a: Clinic, quick_key: str, bucket: str, s3_server: S3Server, passphrase_file: Path
) -> None:
    given = ["--clinic", "alpha", "--passphrase-file", str(passphrase_file)]
    target = f"s3://{bucket}/kits/2026"
    assert "6 sealed files are whole" in run(target, "--sealed", *given)
    found = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert {each["Key"].removeprefix("kits/2026/alpha/") for each in found} == {
        "INDEX.zip.age",
        "KEY.age",
        MANIFEST,
        "README.txt",
        "RECIPIENT.txt",
        *(f"studies/{study.public_id}.zip.age" for study in studies),
    }
    for each in found:
        body = s3_server.client().get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        assert CANARY.encode() not in body
        assert CANARY not in each["Key"]
    assert "files in them" in run(target, "--verify", *given)
    with pytest.raises(CommandError, match="A bucket takes sealed kits only"):
        run(target, "--clinic", "alpha")
    with pytest.raises(CommandError, match=r"The bucket cannot be used\. The S3 service answers: NoSuchBucket"):
        run("s3://no-such-bucket-here/kits", "--sealed", *given)
    with pytest.raises(CommandError, match="Name the bucket"):
        run("s3:///kits", "--sealed", *given)


def test_a_long_manifest_in_a_bucket_is_put_together_now_and_then(
    clinic_a: Clinic, bucket: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit_places, "MOST_TAILS", 3)
    place = BucketPlace(bucket_at(bucket, "kit", settings.KIT_S3))
    for number in range(5):
        place.note(f'{{"path": "{number}"}}')
    assert paths_of(place) == [MANIFEST, f"{MANIFEST}.00000001", f"{MANIFEST}.00000002"]
    again = fresh(place)
    again.note('{"path": "5"}')
    assert [json.loads(line)["path"] for line in fresh(place).lines()] == list("012345")
