"""Studies for demonstrations and tests, made by computation: no patient, no scanner, no foreign file.

The same arguments give the same bytes. UIDs derive from ``seed``; use another seed for another study.
"""

import datetime
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit

from . import phantom_head, phantom_heart
from .uid import IMPLEMENTATION_CLASS_UID, make_uid

CT_IMAGE_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.2")
ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.3.1")
MANUFACTURER: Final = "Viewbox Phantom"

_RESCALE_INTERCEPT: Final = -1024


@dataclass(frozen=True, slots=True)
class Person:
    """The invented patient a phantom is filed under. ``name`` as in PS3.5 6.2.1."""

    name: str
    dicom_patient_id: str
    birth_date: datetime.date
    sex: str


CLARA: Final = Person("Phantom^Clara", "DEMO-0001", datetime.date(1961, 4, 12), "F")
HENRI: Final = Person("Phantom^Henri", "DEMO-0002", datetime.date(1974, 9, 30), "M")


def ct_head(
    slices: int = 60,
    *,
    seed: str = "ct-head",
    size: int = 512,
    person: Person = CLARA,
    study_date: datetime.date = datetime.date(2026, 3, 17),
) -> Iterator[bytes]:
    """Yield the Part 10 files of a head CT, from the skull base up: ``size`` x ``size``, 12 bits, axial.

    All of them lie in one series of one study. ``slices`` is at least 2; they always span the whole head.
    """
    step = (phantom_head.HIGHEST - phantom_head.LOWEST) / (slices - 1)
    heights = [phantom_head.LOWEST + number * step for number in range(slices)]
    # The head itself does not depend on the seed: every demonstration shows the one that was looked at.
    for number, plane in enumerate(phantom_head.head_volume(heights, size, seed=1), start=1):
        yield _ct_slice(plane, number, heights[number - 1], step, _Study(seed, person, study_date))


def cine(
    *,
    frames: int = 30,
    seed: str = "cine",
    person: Person = HENRI,
    study_date: datetime.date = datetime.date(2026, 5, 5),
) -> bytes:
    """Return the Part 10 file of an ultrasound cine of a beating heart: 640 x 480, 8 bits, JPEG, 30 frames a second."""
    study = _Study(seed, person, study_date)
    pictures = phantom_heart.beating_heart(frames, seed=1)
    encoded = [_jpeg(picture) for picture in pictures]
    dataset = _common(study, ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE, "US", 1, datetime.time(10, 24, 30))
    dataset.StudyDescription = "Echocardiography, demonstration"
    dataset.SeriesDescription = "Apical four chambers"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    dataset.ManufacturerModelName = "Four chambers"
    dataset.HeartRate = 60
    dataset.NumberOfFrames = frames
    dataset.FrameTime = f"{1000 / 30:.4f}"
    dataset.FrameIncrementPointer = 0x00181063
    dataset.CineRate = 30
    dataset.RecommendedDisplayFrameRate = 30
    dataset.StartTrim = 1
    dataset.StopTrim = frames
    dataset.PatientOrientation = []
    dataset.BurnedInAnnotation = "NO"
    dataset.SequenceOfUltrasoundRegions = Sequence([_ultrasound_region()])
    _image_pixel(dataset, phantom_heart.HEIGHT, phantom_heart.WIDTH, bits_stored=8, bits_allocated=8)
    dataset.LossyImageCompression = "01"
    raw_bytes = phantom_heart.HEIGHT * phantom_heart.WIDTH * frames
    dataset.LossyImageCompressionRatio = f"{raw_bytes / sum(map(len, encoded)):.2f}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    return _part10(dataset, JPEGBaseline8Bit)


@dataclass(frozen=True, slots=True)
class _Study:
    seed: str
    person: Person
    date: datetime.date

    def uid(self, part: str) -> UID:
        return UID(make_uid(f"viewbox phantom {self.seed} {part}"))


def _ct_slice(plane: phantom_head.Slice, number: int, height: float, step: float, study: _Study) -> bytes:
    size = plane.shape[0]
    spacing = phantom_head.FIELD_OF_VIEW / size
    corner = -phantom_head.FIELD_OF_VIEW / 2 + spacing / 2
    dataset = _common(study, CT_IMAGE_STORAGE, "CT", number, datetime.time(8, 42, 10))
    dataset.StudyDescription = "CT head, demonstration"
    dataset.SeriesDescription = "Head axial, soft tissue"
    dataset.ProtocolName = "Head"
    dataset.BodyPartExamined = "HEAD"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ManufacturerModelName = "Computed head"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = study.uid("frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = 1
    dataset.KVP = "120"
    dataset.XRayTubeCurrent = 280
    dataset.ExposureTime = 1000
    dataset.GantryDetectorTilt = "0"
    dataset.ConvolutionKernel = "SOFT"
    dataset.ReconstructionDiameter = f"{phantom_head.FIELD_OF_VIEW:g}"
    dataset.SliceThickness = f"{step:.4f}"
    dataset.SpacingBetweenSlices = f"{step:.4f}"
    dataset.SliceLocation = f"{height:.4f}"
    dataset.ImagePositionPatient = [f"{corner:.5f}", f"{corner:.5f}", f"{height:.4f}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.PixelSpacing = [f"{spacing:.6f}", f"{spacing:.6f}"]
    dataset.BurnedInAnnotation = "NO"
    dataset.RescaleIntercept = str(_RESCALE_INTERCEPT)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter = ["40", "450"]
    dataset.WindowWidth = ["90", "2200"]
    dataset.WindowCenterWidthExplanation = ["BRAIN", "BONE"]
    _image_pixel(dataset, size, size, bits_stored=12, bits_allocated=16)
    stored = np.clip(np.rint(plane) - _RESCALE_INTERCEPT, 0, 4095).astype("<u2")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return _part10(dataset, ExplicitVRLittleEndian)


def _common(study: _Study, sop_class_uid: UID, modality: str, number: int, time: datetime.time) -> Dataset:
    """Return the Patient, Study, Series, Equipment and SOP Common modules (PS3.3 C.7 and C.12)."""
    person = study.person
    date, clock = study.date.strftime("%Y%m%d"), time.strftime("%H%M%S")
    age = study.date.year - person.birth_date.year
    age -= (study.date.month, study.date.day) < (person.birth_date.month, person.birth_date.day)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = study.uid(f"{modality} instance {number}")
    dataset.InstanceCreationDate = dataset.StudyDate = dataset.SeriesDate = date
    dataset.AcquisitionDate = dataset.ContentDate = date
    dataset.InstanceCreationTime = dataset.StudyTime = dataset.SeriesTime = clock
    dataset.AcquisitionTime = dataset.ContentTime = clock
    dataset.AccessionNumber = f"D{int(make_uid(study.seed).rpartition('.')[2]) % 1_000_000:06d}"
    dataset.Modality = modality
    dataset.Manufacturer = MANUFACTURER
    dataset.InstitutionName = "Demonstration"
    dataset.ReferringPhysicianName = "Example^Robin^^Dr"
    dataset.SoftwareVersions = "1"
    dataset.DeviceSerialNumber = "0"
    dataset.PatientName = person.name
    dataset.PatientID = person.dicom_patient_id
    dataset.PatientBirthDate = person.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = person.sex
    dataset.PatientAge = f"{age:03d}Y"
    dataset.PatientComments = "Synthetic phantom, not a patient"
    dataset.StudyInstanceUID = study.uid("study")
    dataset.SeriesInstanceUID = study.uid(f"{modality} series")
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    return dataset


def _image_pixel(dataset: Dataset, rows: int, columns: int, *, bits_stored: int, bits_allocated: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = rows
    dataset.Columns = columns
    dataset.BitsAllocated = bits_allocated
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = 0


def _ultrasound_region() -> Dataset:
    """Return the region that lets viewers measure in the sector (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.RegionDataType = 1
    region.RegionFlags = 0
    region.RegionLocationMinX0 = 0
    region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = phantom_heart.WIDTH - 1
    region.RegionLocationMaxY1 = phantom_heart.HEIGHT - 1
    region.PhysicalUnitsXDirection = 3
    region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = phantom_heart.MILLIMETRES_PER_PIXEL / 10
    region.PhysicalDeltaY = phantom_heart.MILLIMETRES_PER_PIXEL / 10
    return region


def _jpeg(picture: phantom_heart.Grey) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=88)
    return out.getvalue()


def _part10(dataset: Dataset, transfer_syntax_uid: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "VIEWBOX"
    dataset.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()
