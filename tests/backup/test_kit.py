"""Everything a clinic has, as plain files: complete, readable without us, and completed where it broke off."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from django.core.management import CommandError, call_command
from django.utils.html import escape

from apps.audit.models import AuditEvent
from apps.backup.errors import KitDamagedError
from apps.backup.kit import MANIFEST, verify_kit, write_kit
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.places import place_named
from apps.studies.models import Instance, Study
from tests.studies.files import index, part10

EVIL = "<b>Evil</b>"


@pytest.fixture
def contents() -> list[bytes]:
    return [
        part10("ct1", InstanceNumber=1, StudyDescription=EVIL),
        part10("ct2", InstanceNumber=2, StudyDescription=EVIL),
        part10("pt1", series="pet", SeriesNumber=2, Modality="PT", StudyDescription=EVIL),
    ]


@pytest.fixture
def study(clinic_a: Clinic, contents: list[bytes]) -> Study:
    with clinic_scope(clinic_a):
        index(clinic_a, *contents)
        return Study.objects.select_related("patient").get()


def run(folder: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("rescue_kit", folder, *options, stdout=out, stderr=out)
    return out.getvalue()


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("IM0*"))


def test_the_kit_holds_every_instance_bit_for_bit_and_opens_without_us_BAK_04(
    study: Study, clinic_a: Clinic, contents: list[bytes], tmp_path: Path
) -> None:
    assert "files are whole" in run(tmp_path / "kit", "--clinic", "alpha")
    kit = tmp_path / "kit" / "alpha"
    assert sorted(path.read_bytes() for path in images(kit)) == sorted(contents)
    [directory] = kit.rglob("DICOMDIR")
    records = pydicom.dcmread(directory).DirectoryRecordSequence
    named = {directory.parent.joinpath(*row.ReferencedFileID) for row in records if "ReferencedFileID" in row}
    assert named == set(images(kit))
    page = (kit / "INDEX.HTM").read_text()
    assert escape(study.patient.readable_name) in page
    assert EVIL not in page
    assert escape(EVIL) in page
    assert (directory.parent / "INDEX.HTM").exists()
    assert kit.stat().st_mode & 0o077 == 0
    assert AuditEvent.objects.filter(verb="clinic.exported", clinic_id=clinic_a.pk).exists()


def test_dcmtk_reads_what_is_in_the_kit_BAK_04(study: Study, clinic_a: Clinic, tmp_path: Path) -> None:
    list(write_kit(clinic_a, tmp_path / "kit"))
    dump = shutil.which("dcmdump")
    assert dump, "install the Debian package dcmtk"
    for path in [*tmp_path.rglob("DICOMDIR"), *images(tmp_path)]:
        subprocess.run([dump, "-q", str(path)], check=True, stdout=subprocess.DEVNULL)


def test_what_broke_off_goes_on_and_nothing_is_written_twice(study: Study, clinic_a: Clinic, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    list(write_kit(clinic_a, kit))
    lost, *others = images(kit)
    lost.unlink()
    with (kit / MANIFEST).open("a") as manifest:
        manifest.write('{"path": "cut off')
    before = {path: path.stat().st_ino for path in others}
    [written] = write_kit(clinic_a, kit)
    assert (written.new_count, written.failed) == (1, ())
    assert {path: path.stat().st_ino for path in others} == before
    assert verify_kit(kit) > len(others)


def test_a_damaged_or_missing_file_is_named_BAK_04(study: Study, clinic_a: Clinic, tmp_path: Path) -> None:
    kit = tmp_path / "alpha"
    list(write_kit(clinic_a, kit))
    path = images(kit)[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(CommandError, match=path.name):
        run(tmp_path, "--clinic", "alpha", "--verify")
    path.unlink()
    with pytest.raises(KitDamagedError, match=path.name):
        verify_kit(kit)
    path.write_bytes(content)
    assert "files are whole" in run(tmp_path, "--clinic", "alpha", "--verify")


def test_what_cannot_be_read_is_named_and_the_rest_is_there(
    study: Study, clinic_a: Clinic, contents: list[bytes], tmp_path: Path
) -> None:
    with clinic_scope(clinic_a):
        blob = Instance.objects.order_by("pk")[0].blob
    place_named(blob.place).delete([blob.object_name])
    with pytest.raises(CommandError, match="2 files could not be read"):
        run(tmp_path / "kit", "--clinic", "alpha")
    assert len(images(tmp_path / "kit")) == len(contents) - 1


def test_another_clinics_kit_has_nothing_of_this_one(study: Study, clinic_b: Clinic, tmp_path: Path) -> None:
    run(tmp_path / "kit", "--clinic", "beta")
    assert images(tmp_path / "kit") == []
    lines = [json.loads(line) for line in (tmp_path / "kit" / "beta" / MANIFEST).read_text().splitlines()]
    assert {line["path"] for line in lines} == {"INDEX.HTM"}


def test_a_folder_with_something_else_is_left_alone(study: Study, clinic_a: Clinic, tmp_path: Path) -> None:
    (tmp_path / "alpha").mkdir()
    (tmp_path / "alpha" / "letters.txt").write_text("mine")
    with pytest.raises(CommandError, match="Something else"):
        run(tmp_path, "--clinic", "alpha")
    with pytest.raises(CommandError, match="no clinic"):
        run(tmp_path, "--clinic", "nowhere")
