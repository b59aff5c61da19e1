"""A clinic whose every name is an attack: studies, files, people, the clinic itself (WEB-06)."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Browser

from apps.dicom import phantom
from tests.flows.installation import Installation
from tests.flows.people import open_account

SLUG = "hostile"
EMAIL = "eve@hostile.example"
# A word in every text, so that answers and logs can be searched for it.
CANARY = "CANARYHOSTILE"
SLICES = 3

# Each calls p() when it is taken for markup or script. Short ones fit into SH (16 characters, PS3.5 6.2).
PAYLOADS = [
    "<script>p()</script>",
    "<ScRiPt>p()</sCrIpT>",
    "<script >p()</script >",
    "<script/x>p()</script>",
    "<script\t>p()</script>",
    "<script>p()//",
    "</script><script>p()</script>",
    "</title><script>p()</script>",
    "</textarea><script>p()</script>",
    "</style><script>p()</script>",
    "</noscript><script>p()</script>",
    "--><script>p()</script>",
    "]]><script>p()</script>",
    '"><script>p()</script>',
    "'><script>p()</script>",
    "<scr<script>ipt>p()</scr</script>ipt>",
    "<img src onerror=p()>",
    "<img src=x onerror=p()>",
    "<img/src/onerror=p()>",
    "<IMG SRC ONERROR=p()>",
    "<img src onerror='p()'>",
    '<img src onerror="p()">',
    "<img src onerror=p``>",
    "<img src onerror=window['p']()>",
    '"><img src onerror=p()>',
    "'><img src onerror=p()>",
    "</td><img src onerror=p()>",
    "</option></select><img src onerror=p()>",
    "<svg onload=p()>",
    "<svg/onload=p()>",
    "<svg><script>p()</script></svg>",
    "<svg><animate onbegin=p() attributeName=x>",
    "<svg><set onbegin=p() attributename=x>",
    "<svg><a><image href=x onerror=p()>",
    "<math><mi><img src onerror=p()>",
    "<body onload=p()>",
    "<body onpageshow=p()>",
    "<details open ontoggle=p()>",
    "<input autofocus onfocus=p()>",
    "<select autofocus onfocus=p()>",
    "<textarea autofocus onfocus=p()>",
    "<button autofocus onfocus=p()>",
    "<video><source onerror=p()>",
    "<video src onerror=p()>",
    "<audio src onerror=p()>",
    "<object data=x onerror=p()>",
    "<iframe onload=p()>",
    "<iframe srcdoc='<script>parent.p()</script>'>",
    "<iframe src=javascript:parent.p()>",
    "<embed src=javascript:p()>",
    "<link rel=stylesheet href=x onerror=p()>",
    "<style onload=p()>*{}</style>",
    "<marquee onstart=p()>",
    "<x onanimationstart=p() style='animation:a'>",
    "<div hx-on:load=p()>",
    "<div hx-on::load='p()' hx-trigger=load>",
    "javascript:p()",
    '" autofocus onfocus=p() x="',
    "' autofocus onfocus=p() x='",
    "';p();//",
    '";p();//',
    "${p()}",
    "{{constructor.constructor('p()')()}}",
    "{% csrf_token %}{{ request }}<svg onload=p()>",
]
SHORT = [payload for payload in PAYLOADS if len(payload) <= 16]
FILE_NAMES = [payload.replace("/", "\u2215") for payload in PAYLOADS if "/" not in payload]

# Runs before any script of a page: counts what payloads call, and what the policy had to stop.
HOOK = """
window.__executed = 0;
window.__stopped = [];
window.p = () => { window.__executed += 1; };
window.alert = window.confirm = window.prompt = window.p;
addEventListener('securitypolicyviolation', event =>
    window.__stopped.push(event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample));
"""


@dataclass(frozen=True)
class Hostile:
    """How to get in, and what lies there."""

    seed: str
    folder: Path
    study_count: int
    # What opens something: tokens of links and invitations.
    secrets: list[str] = field(default_factory=list)


def make_studies(folder: Path) -> int:
    """Studies that carry every payload in turn, in every text that a page shows; returns how many."""
    payloads, short, names = iter(PAYLOADS), cycle(SHORT), cycle(FILE_NAMES)
    slices = [pydicom.dcmread(io.BytesIO(content)) for content in phantom.ct_head(SLICES)]
    fields = ("PatientName", "PatientID", "StudyDescription", "SeriesDescription", "ReferringPhysicianName")
    more = ("InstitutionName", "Manufacturer", "ProtocolName", "PatientComments", "BodyPartExamined", "PatientAge")
    count = 0
    while taken := [payload for _, payload in zip(fields, payloads, strict=False)]:
        values = dict(zip(fields, cycle_to(taken, len(fields)), strict=True))
        values["PatientID"] = f"{CANARY}{count}{values['PatientID']}"
        values["PatientName"] = f"{CANARY}{values['PatientName']}"
        values |= dict.fromkeys(more, taken[0])
        values |= {"AccessionNumber": next(short), "StudyID": next(short), "StationName": next(short)}
        for number, dataset in enumerate(slices[: SLICES if count == 0 else 1]):
            for name, value in values.items():
                setattr(dataset, name, value)
            dataset.StudyInstanceUID = f"2.25.666.{count}"
            dataset.SeriesInstanceUID = f"2.25.666.{count}.1"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.666.{count}.1.{number}"
            dataset.save_as(folder / f"{count}{number}{next(names)}.dcm")
        (folder / f"{count}{next(names)}.txt").write_text("not an image")
        count += 1
    return count


def cycle_to(values: list[str], length: int) -> list[str]:
    return [value for value, _ in zip(cycle(values), range(length), strict=False)]


@pytest.fixture(scope="package")
def hostile(installation: Installation, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """The clinic, its owner, and studies brought in by `import_dicom`."""
    folder = tmp_path_factory.mktemp("hostile")
    count = make_studies(folder)
    url = installation.manage("create_clinic", SLUG, "--name", "</title><svg onload=p()>", "--owner", EMAIL).strip()
    token = url.rpartition("/invitation/")[2].strip("/")
    outcome = installation.manage("import_dicom", "--clinic", SLUG, str(folder))
    assert f"{count + SLICES - 1} stored" in outcome, outcome
    context = chromium.new_context(ignore_https_errors=True, base_url=installation.base_url, locale="en-GB")
    _, seed = open_account(context, url, '"><img src onerror=p()>')
    context.close()
    return Hostile(seed, folder, count, [token])
