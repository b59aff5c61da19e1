"""Real studies from real scanners: all of the sample set is imported, and what it is made of opens in the viewer."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.flows.installation import Installation
from tests.flows.people import open_account, wait_for_pixels

STACKS = ("01-ct-head-ge", "02-mr-head-t2", "03-mr-head-t1-sag", "04-ct-chest")
IMAGES = ("05-us/", "06-xray/mg", "07-xa/", "14-dicomdir-cd/")
# Decoding is the browser's work and the same on both stacks: on servers one of each sort proves the way there.
OPENED = STACKS + IMAGES if os.environ["TEST_STACK"] == "embedded" else (STACKS[0], IMAGES[0])
STUDIES = (
    "import json; from apps.clinics.models import Clinic; from apps.clinics.scoping import clinic_scope\n"
    "from apps.studies.models import Study\n"
    "with clinic_scope(Clinic.objects.get(slug='samples')):\n"
    "    print(json.dumps(dict(Study.objects.values_list('study_instance_uid', 'public_id'))))"
)


@pytest.fixture(scope="module")
def imported(installation: Installation, samples: Path) -> list[dict[str, str]]:
    """The outcome of each file of the sample set."""
    installation.invitation = installation.manage(  # type: ignore[attr-defined]
        "create_clinic", "samples", "--name", "Sample Imaging", "--owner", "owner@samples.example"
    ).strip()
    lines = installation.manage("import_dicom", "--clinic", "samples", str(samples), "--json").splitlines()
    installation.manage("process_jobs", "--until-idle")
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def manifest(samples: Path) -> list[dict[str, str]]:
    with (samples / "MANIFEST.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def studies(installation: Installation, imported: list[dict[str, str]]) -> dict[str, str]:
    """Study Instance UID to public id."""
    return dict(json.loads(installation.manage("shell", "-v", "0", "-c", STUDIES)))


@pytest.fixture(scope="module")
def reader(chromium: object, installation: Installation, imported: list[dict[str, str]]) -> Page:
    """A signed-in member of the clinic that has the samples."""
    context: BrowserContext = chromium.new_context(  # type: ignore[attr-defined]
        viewport={"width": 1440, "height": 900}, ignore_https_errors=True, base_url=installation.base_url
    )
    page, _ = open_account(context, installation.invitation, "Reader")  # type: ignore[attr-defined]
    return page


def test_every_file_has_an_outcome(imported: list[dict[str, str]], manifest: list[dict[str, str]]) -> None:
    outcomes = {entry["path"]: entry for entry in imported}
    assert len(outcomes) >= len(manifest)
    counts = Counter(entry["outcome"] for entry in imported)
    assert counts["stored"] > 180
    assert counts["conflict"] == expected_conflicts(manifest)
    assert all(entry["message"] for entry in imported if entry["outcome"] != "stored")


def expected_conflicts(manifest: list[dict[str, str]]) -> int:
    """Acceptable files that share a SOP Instance UID with another: all but the first are conflicts."""
    acceptable = [row for row in manifest if row["sop_uid"] and row["study_uid"]]
    return sum(count - 1 for count in Counter(row["sop_uid"] for row in acceptable).values())


@pytest.mark.parametrize("kind", OPENED)
def test_it_opens_in_the_viewer(
    reader: Page, studies: dict[str, str], manifest: list[dict[str, str]], kind: str, screenshots: Path
) -> None:
    uid = next(row["study_uid"] for row in manifest if row["path"].startswith(kind) and row["rows"])
    reader.goto(f"/c/samples/viewer/{studies[uid]}/")
    wait_for_pixels(reader)
    reader.screenshot(path=screenshots / f"{kind.strip('/').replace('/', '-')}.png")
