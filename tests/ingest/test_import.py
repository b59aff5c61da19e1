"""`manage.py import_dicom`, and the whole sample set through it."""

import csv
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload, UploadBatch
from apps.storage.models import Blob
from apps.studies.models import Instance, Study
from tests.ingest.files import part10, series, zipped


def run_import(*paths: Path) -> list[dict[str, str]]:
    out = io.StringIO()
    call_command("import_dicom", "--clinic", "alpha", "--json", *map(str, paths), stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stick: a series without extensions in nested folders, a ZIP, a note."""
    for number, data in enumerate(series(3)):
        path = tmp_path / "DICOM" / "PAT1" / f"IM{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "more.zip").write_bytes(zipped({"a/b/IM1": part10(), "a/notes.txt": b"hello"}))
    (tmp_path / "README.TXT").write_bytes(b"hello")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_every_file_gets_an_outcome(folder: Path, clinic_a: Clinic) -> None:
    rows = run_import(folder)
    found = {str(Path(row["path"]).relative_to(folder)): (row["outcome"], row["code"]) for row in rows}
    assert found == {
        "DICOM/PAT1/IM0": ("stored", ""),
        "DICOM/PAT1/IM1": ("stored", ""),
        "DICOM/PAT1/IM2": ("stored", ""),
        "README.TXT": ("rejected", "not-dicom"),
        "broken.zip": ("rejected", "archive-damaged"),
        "gone": ("rejected", "unreadable"),
        "more.zip/a/b/IM1": ("stored", ""),
        "more.zip/a/notes.txt": ("rejected", "not-dicom"),
    }
    assert all(set(row) == {"path", "outcome", "code", "message", "sop_instance_uid"} for row in rows)
    assert all(bool(row["message"]) == (row["outcome"] == "rejected") for row in rows)
    with clinic_scope(clinic_a):
        assert Study.objects.count() == 2
        assert UploadBatch.objects.get().closed_at is not None
        assert str(folder) not in " ".join(Upload.objects.values_list("name", flat=True))


def test_a_second_import_finds_everything_there(folder: Path, clinic_a: Clinic) -> None:
    run_import(folder)
    assert Counter(row["outcome"] for row in run_import(folder)) == {"duplicate": 4, "rejected": 4}
    with clinic_scope(clinic_a):
        assert Instance.objects.count() == 4


def test_without_json_it_counts(folder: Path, clinic_a: Clinic) -> None:
    out = io.StringIO()
    call_command("import_dicom", "--clinic", "alpha", str(folder), stdout=out)
    assert out.getvalue() == "8 files: 4 rejected, 4 stored\n"


def test_what_is_not_there_is_named(clinic_a: Clinic, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such file"):
        run_import(tmp_path / "nothing")
    with pytest.raises(CommandError, match="no clinic"):
        call_command("import_dicom", "--clinic", "nobody", str(tmp_path))


def test_many_files_are_recorded_by_study_not_by_file(tmp_path: Path, clinic_a: Clinic) -> None:
    for number, data in enumerate(series(30)):
        (tmp_path / str(number)).write_bytes(data)
    run_import(tmp_path)
    events = AuditEvent.objects.filter(verb="instance.stored")
    assert sum(event.additional_data["instance_count"] for event in events) == 30
    assert len(events) == 1


# What the sample set's README says of single files. Three files of other projects lack a Study Instance UID.
SPECIAL = {
    "11-other/colour-palette.dcm": ("rejected", "no-study"),
    "12-transfer-syntaxes/1.2.840.10008.1.2.4.201-htj2k-lossless.dcm": ("rejected", "no-uid"),
    "12-transfer-syntaxes/1.2.840.10008.1.2.4.203-htj2k.dcm": ("rejected", "no-uid"),
    "12-transfer-syntaxes/1.2.840.10008.1.2.4.81-jpeg-ls-near.dcm": ("rejected", "no-uid"),
    "14-dicomdir-cd/DICOMDIR": ("ignored", "dicomdir"),
}


def expected(samples: Path) -> dict[str, tuple[str, str]]:
    """Of files that share a SOP Instance UID the first is stored, the others are conflicts; imports go by name."""
    outcomes = {}
    seen = set()
    with (samples / "MANIFEST.csv").open(newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: row["path"]):
            path, uid = row["path"], row["sop_uid"]
            if Path(path).suffix == ".pdf":
                outcomes[path] = ("rejected", "document-without-study")
            elif path in SPECIAL:
                outcomes[path] = SPECIAL[path]
            else:
                outcomes[path] = ("conflict", "different-bytes") if uid in seen else ("stored", "")
                seen.add(uid)
    return outcomes


@pytest.mark.samples
def test_the_whole_sample_set_gets_the_right_outcomes(samples: Path, clinic_a: Clinic) -> None:
    outcomes = expected(samples)
    rows = run_import(*(path for path in sorted(samples.iterdir()) if path.is_dir() and path.name != "LICENCES"))
    found = {str(Path(row["path"]).relative_to(samples)): (row["outcome"], row["code"]) for row in rows}
    assert found == outcomes
    stored = Counter(outcome for outcome, _code in found.values())["stored"]
    with clinic_scope(clinic_a):
        assert Instance.objects.count() == stored
        conflicts = Upload.objects.filter(state="conflict").count()
        kept = Blob.objects.filter(kind="instance", state=Blob.State.STORED).count()
        assert kept == stored + conflicts
        assert not Blob.objects.filter(state=Blob.State.QUARANTINED).exists()


@pytest.mark.samples
def test_the_whole_sample_set_as_one_zip(samples: Path, clinic_a: Clinic, tmp_path: Path) -> None:
    outcomes = expected(samples)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(outcomes):
            archive.write(samples / path, path)
    rows = run_import(tmp_path / "all.zip")
    prefix = str(tmp_path / "all.zip") + "/"
    assert {row["path"].removeprefix(prefix): (row["outcome"], row["code"]) for row in rows} == outcomes
