"""The demonstration clinic: a synthetic head CT and a cine of our own, and the example files of pydicom's package.

They go through the real pipeline, as an upload does. No foreign file is shipped.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

from apps.access.services import import_principal
from apps.accounts.models import Membership
from apps.accounts.roles import Role
from apps.accounts.services import create_user, found_clinic, random_password
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope
from apps.dicom import phantom
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import close_batch, open_batch, receive
from apps.jobs.services import process_until_idle

SLUG, NAME, EMAIL = "demo", "Riverside Imaging (demonstration)", "owner@demo.example"
EXAMPLES = (
    "examples_ybr_color.dcm",
    "examples_rgb_color.dcm",
    "examples_palette.dcm",
    "examples_jpeg2k.dcm",
    "examples_overlay.dcm",
    "CT_small.dcm",
    "MR_small.dcm",
    "waveform_ecg.dcm",
    "test-SR.dcm",
)


@dataclass(frozen=True)
class Credentials:
    """What is printed once."""

    email: str
    password: str


def demonstration_files() -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each Part 10 file of the demonstration."""
    for number, content in enumerate(phantom.ct_head(), 1):
        yield f"head-{number:03}.dcm", content
    yield "heart-cine.dcm", phantom.cine()
    folder = files("pydicom").joinpath("data", "test_files")
    for name in EXAMPLES:
        yield name, folder.joinpath(name).read_bytes()


def make_password() -> str:
    """Return 20 random characters, about 108 bits, in which no word can stand for want of vowels."""
    letters, digits = "bcdfghjkmnpqrstvwxz", "26789"
    alphabet = letters + letters.upper() + digits
    while True:
        text = "".join(secrets.choice(alphabet) for _ in range(20))
        if any(c in digits for c in text) and text.lower() != text and text.upper() != text:
            return "-".join(text[at : at + 5] for at in range(0, 20, 5))


def create(report: Callable[[str], object]) -> Credentials:
    """Make the clinic, its owner with a random password, and its studies; report progress in words."""
    password = random_password()
    clinic = found_clinic(SLUG, NAME, context=Context.system("demo"))
    owner = create_user(EMAIL, "Robin Owner", password)
    Membership.objects.create(user=owner, clinic=clinic, role=Role.OWNER)
    report("Importing the demonstration studies ...")
    with clinic_scope(clinic):
        principal = import_principal(clinic, "demo")
        batch = open_batch(principal, UploadBatch.Source.IMPORT)
        for name, content in demonstration_files():
            receive(principal, batch, name, [content])
        close_batch(batch)
    process_until_idle()
    with clinic_scope(clinic):
        report(f"{batch.uploads.filter(state=Upload.State.STORED).count()} instances stored.")
    return Credentials(EMAIL, password)
