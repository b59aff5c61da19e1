"""A study of one patient with ultrasound frames that name her, and one with a secondary capture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import CAPABILITIES, Role
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import UploadBatch
from apps.ingest.services import open_batch, store_now
from apps.jobs.services import process_until_idle
from apps.studies.models import Study

NAME = "CANARYFAMILY^Zerlina"
PATIENT_ID = "CANARY-4711"
STUDY_UID = "1.2.826.0.1.3680043.10.5.20240131.1"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROWS, COLUMNS = 240, 320


def picture(*lines: str) -> np.ndarray:
    """Speckle in a fan on black, with lines of text above it."""
    rng = np.random.default_rng(7)
    down, across = np.mgrid[0:ROWS, 0:COLUMNS]
    inside = (np.hypot(down - 20, across - COLUMNS / 2) < 200) & (np.abs(across - COLUMNS / 2) < (down - 50) * 0.7)
    grey = np.where(inside, rng.integers(30, 110, (ROWS, COLUMNS)), 0).astype(np.uint8)
    drawn = Image.fromarray(grey)
    font = ImageFont.load_default(16)
    for number, line in enumerate(lines):
        ImageDraw.Draw(drawn).text((6, 4 + 20 * number), line, fill=235, font=font)
    return np.asarray(drawn)


def image(number: int, *lines: str, sop_class: str = ULTRASOUND, **attributes: object) -> bytes:
    """A Part 10 file of one frame."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"{STUDY_UID}.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, f"{STUDY_UID}.1"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, PATIENT_ID, "19610214"
    dataset.PatientSex, dataset.StudyDate, dataset.StudyTime = "F", "20240131", "101500"
    dataset.AccessionNumber, dataset.StudyDescription = "CANARYACC", "Abdomen of CANARYFAMILY"
    dataset.ReferringPhysicianName, dataset.StudyID = "CANARYDOCTOR^Otto", "1"
    dataset.Modality = "US" if sop_class == ULTRASOUND else "OT"
    dataset.SeriesNumber, dataset.InstanceNumber = "1", str(number)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = picture(*lines).tobytes()
    if sop_class == SECONDARY_CAPTURE:
        dataset.ConversionType = "WSD"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def principal_for(user: User, clinic: Clinic, role: Role = Role.OWNER) -> Principal:
    context = Context(actor_kind="user", actor_reference=user.public_id, user_id=user.pk, user_email=user.email)
    return Principal("member", clinic, CAPABILITIES[role], context, user)


def store(principal: Principal, *contents: bytes) -> list[str]:
    """Bring files in, as STOW-RS does; return what became of each."""
    with clinic_scope(principal.clinic):
        batch = open_batch(principal, UploadBatch.Source.STOW)
        outcomes = store_now(principal, batch, [[content] for content in contents])
        process_until_idle()
    return [outcome.outcome for outcome in outcomes]


@pytest.fixture
def owner(alice: User, clinic_a: Clinic) -> Principal:
    return principal_for(alice, clinic_a)


@pytest.fixture
def study(owner: Principal) -> Study:
    """Two ultrasound images, one of them with the name on it."""
    assert store(owner, image(1, "CANARYFAMILY Zerlina", "ID CANARY-4711"), image(2)) == ["stored"] * 2
    with clinic_scope(owner.clinic):
        return Study.objects.select_related("patient").get()


@pytest.fixture
def doubtful_study(owner: Principal) -> Study:
    """An ultrasound image, and a secondary capture that a person has to look at."""
    capture = image(3, "CANARYFAMILY Zerlina", sop_class=SECONDARY_CAPTURE)
    assert store(owner, image(1, "CANARYFAMILY Zerlina"), capture) == ["stored"] * 2
    with clinic_scope(owner.clinic):
        return Study.objects.select_related("patient").get()
