"""The short form: sixty damages of six kinds, none served, all found and repaired."""

from __future__ import annotations

from pathlib import Path

from apps.clinics.models import Clinic
from tests.faults.damage import KINDS, Run
from tests.faults.disks import two_disks


def test_damage_is_never_served_always_found_and_repaired_F13_F14(in_clinic_a: Clinic, tmp_path: Path) -> None:
    with two_disks(tmp_path) as disks:
        run = Run(in_clinic_a, disks, seed=20261122, blob_count=36)
        run.damage(60)
        run.damage_both(6)
    assert run.report.wrong == [], str(run.report)
    assert run.report.repaired == 60
    assert set(run.report.damaged) == set(KINDS)
    assert run.report.found_by["reader"]
    assert run.report.found_by["scrub"]
