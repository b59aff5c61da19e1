"""The rows of the sample set's manifest; none in a clone that has no sample set beside it."""

from __future__ import annotations

import csv

import pytest

from tests.conftest import SAMPLES

INDEX = "14-dicomdir-cd/DICOMDIR"


def rows() -> list[dict[str, str]]:
    """Every row of MANIFEST.csv."""
    path = SAMPLES / "MANIFEST.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def instances() -> list[dict[str, str]]:
    """The rows that are DICOM instances: neither the disc's index nor the plain PDF."""
    return [row for row in rows() if row["path"] != INDEX and row["transfer_syntax"]]


def with_pixels() -> list[dict[str, str]]:
    """The rows whose pixels decode, one of each series: slices of a stack are alike."""
    seen: set[str] = set()
    chosen = []
    for row in instances():
        key = row["series_uid"] if row["path"][:2] in {"01", "02", "03", "04", "09", "14"} else row["path"]
        if row["pixels_decode"] == "yes" and key not in seen:
            seen.add(key)
            chosen.append(row)
    return chosen


def each(chosen: list[dict[str, str]]) -> pytest.MarkDecorator:
    """Run a test once for each of these rows, or skip it when there are none."""
    return pytest.mark.parametrize("row", [pytest.param(row, id=row["path"]) for row in chosen])
