"""Small promises of the room: UIDs, names of classes, errors that travel, and no Django."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from apps.dicom import errors, sop_classes
from apps.dicom.errors import Code, DicomError, NoPixelsError, RejectedError
from apps.dicom.sop_classes import Kind
from apps.dicom.uid import is_valid_uid, make_uid

ROOM = Path(errors.__file__).parent


def test_made_uids_are_valid_new_and_the_same_for_the_same_seed() -> None:
    made = {make_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(is_valid_uid(uid) for uid in made)
    assert make_uid("a") == make_uid("a") != make_uid("b")


@pytest.mark.parametrize("text", ["", ".", "1.", ".1", "1..2", "1.2.a", "1.2/3", "1.2\n", "1" * 65, "१.२", "../1"])
def test_what_is_no_uid_is_refused_UPL_05(text: str) -> None:
    assert not is_valid_uid(text)


@pytest.mark.parametrize("text", ["1", "1.2.840.10008.1.2", "1.02.3", "2.25." + "9" * 39])
def test_what_is_a_uid_is_accepted(text: str) -> None:
    assert is_valid_uid(text)


@pytest.mark.parametrize(
    ("uid", "name", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image", Kind.IMAGE),
        ("1.2.840.10008.5.1.4.1.1.1.2", "Digital Mammography X-Ray Image - For Presentation", Kind.IMAGE),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF", Kind.DOCUMENT),
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR", Kind.REPORT),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document", Kind.REPORT),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform", Kind.WAVEFORM),
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation", Kind.SEGMENTATION),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State", Kind.PRESENTATION_STATE),
        ("1.2.840.10008.5.1.4.1.1.77.1.4.1", "Video Photographic Image", Kind.VIDEO),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan", Kind.RADIOTHERAPY),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose", Kind.IMAGE),
        ("1.2.3.4", "1.2.3.4", Kind.OTHER),
    ],
)
def test_classes_have_names_and_kinds(uid: str, name: str, kind: Kind) -> None:
    assert sop_classes.name(uid) == name
    assert sop_classes.kind(uid) is kind


def test_transfer_syntaxes_have_short_names() -> None:
    assert sop_classes.transfer_syntax_name("1.2.840.10008.1.2.4.50") == "JPEG Baseline (Process 1)"


def test_every_code_has_a_sentence() -> None:
    assert set(errors.MESSAGES) == set(Code)
    assert all(sentence.endswith(".") for sentence in errors.MESSAGES.values())


@pytest.mark.parametrize("error", [RejectedError(Code.TRUNCATED), NoPixelsError(), RejectedError(Code.BAD_UID, "Own.")])
def test_errors_cross_to_another_process(error: DicomError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), arrived.code, str(arrived)) == (type(error), error.code, str(error))


def test_the_room_works_without_django() -> None:
    modules = ", ".join(f"apps.dicom.{path.stem}" for path in ROOM.glob("*.py") if path.stem != "__init__")
    script = f"import sys, {modules}; print(any(name.split('.')[0] == 'django' for name in sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOM.parent.parent
    )
    assert ran.stdout.strip() == "False"
