"""The keyed functions."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from apps.dicom.deidentify import KeyTooShortError, Mapper
from apps.dicom.deidentify.mapping import NO_SHIFT, key_from_file
from apps.dicom.uid import is_valid_uid

KEY = b"0123456789abcdef"
OLD = [f"1.2.276.0.{number}.19570314" for number in range(200)]


def test_the_same_key_gives_the_same_on_another_machine_and_another_key_gives_nothing_of_it() -> None:
    script = (
        "from apps.dicom.deidentify import Mapper; m = Mapper(b'0123456789abcdef');"
        "print(m.uid('1.2.276.0.7.19570314'), m.label('patient', 'MRN 7'), m.label('accession', '9'), m.shift('MRN 7'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    here = Mapper(KEY)
    said = f"{here.uid('1.2.276.0.7.19570314')} {here.label('patient', 'MRN 7')} {here.label('accession', '9')}"
    assert ran.stdout.strip() == f"{said} {here.shift('MRN 7')}"
    other = Mapper(b"fedcba9876543210")
    assert not {here.uid(old) for old in OLD} & {other.uid(old) for old in OLD}
    assert here.label("patient", "MRN 7") != other.label("patient", "MRN 7")


def test_mapped_uids_are_valid_all_different_and_hold_nothing_of_the_old() -> None:
    mapper = Mapper(KEY)
    new = [mapper.uid(old) for old in OLD]
    assert len(set(new)) == len(OLD)
    assert all(is_valid_uid(uid) and "19570314" not in uid for uid in new)
    assert uuid.UUID(int=int(new[0].removeprefix("2.25."))).version == 8
    assert Mapper(KEY, "1.2.826.0.1.3680043.10").uid("1.2.3").startswith("1.2.826.0.1.3680043.10.")


def test_what_was_mapped_is_recognised_and_stays() -> None:
    mapper = Mapper(KEY)
    uid, label = mapper.uid("1.2.3"), mapper.label("patient", "MRN 7")
    assert mapper.uid(uid) == uid
    assert mapper.label("patient", label) == label
    assert mapper.shift(label) == NO_SHIFT
    assert Mapper(b"another key, as long").uid(uid) != uid
    assert not mapper.is_own_uid("2.25.173463283617318474218036146418903275093")


def test_uids_of_the_standard_stay() -> None:
    mapper = Mapper(KEY)
    assert mapper.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert mapper.uid("1.2.840.10008.19570314") != "1.2.840.10008.19570314"
    assert mapper.uid("") == ""


def test_one_record_number_in_two_spellings_is_one_patient() -> None:
    mapper = Mapper(KEY)
    assert mapper.label("patient", "MRN 884-2193") == mapper.label("patient", "mrn8842193")
    assert mapper.shift("MRN 884-2193") == mapper.shift("mrn8842193")
    assert mapper.label("patient", "8842194") != mapper.label("patient", "8842193")


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(KeyTooShortError):
        Mapper(b"short")
    assert key_from_file(b"0123456789abcdef\n") == KEY
    assert key_from_file(b"\xff\xfe\n") == b"\xff\xfe\n"
