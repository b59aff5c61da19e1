"""`manage.py deidentify`: a folder in, a folder out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pydicom import dcmread

from tests.dicom import files
from tests.dicom.deidentify import hiding


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two planted instances in folders named after people, a note, a cut file, a document, an index."""
    folder = tmp_path / "in"
    one, two = hiding.instances(99, 8)[:2]
    person = one.person
    assert person is not None
    (folder / person.mrn / "deep" / "er").mkdir(parents=True)
    (folder / person.mrn / "deep" / "er" / "ct.dcm").write_bytes(one.data)
    (folder / f"{person.physician[0]}_ct.dcm").write_bytes(two.data if False else one.data)
    (folder / "plain.dcm").write_bytes(two.data)
    (folder / "notes.txt").write_text("Karoline Zellweger was here")
    (folder / "cut.dcm").write_bytes(two.data[: len(two.data) // 2])
    document = files.dataset(EncapsulatedDocument=b"%PDF-1.4", PatientName="X^Y")
    (folder / "report").write_bytes(files.part10(document))
    return folder


def run(source: Path, target: Path, key: Path, *more: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("deidentify", source, target, "--profile", "research", "--key", key, "--json", *more, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_done_whatever_lies_in_it_and_twice_is_the_same(source: Path, tmp_path: Path, key: Path) -> None:
    target = tmp_path / "out"
    said = {line["path"]: line for line in run(source, target, key)}
    outcomes = {Path(path).name: line["outcome"] for path, line in said.items()}
    assert outcomes["notes.txt"] == "rejected"
    assert outcomes["cut.dcm"] == "rejected"
    assert said["report"]["code"] == "needs-review"
    assert said["report"]["reason"] == "encapsulated-document"
    done = [line for line in said.values() if line["outcome"] == "deidentified"]
    assert len(done) == 3
    assert said["plain.dcm"]["output"] == "plain.dcm"
    first = written(target)
    assert set(first) == {line["output"] for line in done}
    person = hiding.instances(99, 8)[0].person
    assert person is not None
    assert not any(person.mrn in name or person.physician[0] in name for name in first)
    assert any(name.endswith("/deep/er/ct.dcm") for name in first)
    for data in first.values():
        assert dcmread(io.BytesIO(data)).PatientIdentityRemoved == "YES"
    run(source, tmp_path / "again", key, "--jobs", "2")
    assert written(tmp_path / "again") == first


@pytest.mark.filterwarnings("ignore")
def test_verify_finds_nothing_in_what_was_done_and_finds_what_is_slipped_in(
    source: Path, tmp_path: Path, key: Path
) -> None:
    target = tmp_path / "out"
    said = run(source, target, key, "--verify")
    assert not any("residue" in line for line in said)
    assert len(written(target)) == 3
    person = hiding.instances(99, 8)[0].person
    assert person is not None
    slipped = dcmread(target / "plain.dcm")
    slipped.StudyDescription = f"chest of {person.physician[1].upper()}"
    slipped.save_as(target / "plain.dcm")
    with pytest.raises(CommandError, match="Found"):
        run(source, target, key, "--verify")


def test_what_cannot_work_is_said_in_a_sentence(source: Path, tmp_path: Path, key: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"abc")
    with pytest.raises(CommandError, match="16 bytes"):
        run(source, tmp_path / "out", short)
    with pytest.raises(CommandError, match="must not lie"):
        run(source, source / "out", key)
    with pytest.raises(CommandError, match="There is no profile"):
        call_command("deidentify", source, tmp_path / "out", "--profile", "none", "--key", key)
    with pytest.raises(CommandError, match="no such file"):
        run(tmp_path / "missing", tmp_path / "out", key)
