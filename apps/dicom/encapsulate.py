"""Make DICOM objects of papers and photographs: Encapsulated PDF (PS3.3 A.45.1) and VL Photographic Image (A.32.4).

The same content for the same study, made at the same instant, is the same object byte for byte: done twice, it is there
once.
"""

import datetime
import io
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, ImageOps
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit

from .errors import Code, RejectedError
from .uid import IMPLEMENTATION_CLASS_UID, make_uid

ENCAPSULATED_PDF: Final = UID("1.2.840.10008.5.1.4.1.1.104.1")
VL_PHOTOGRAPHIC: Final = UID("1.2.840.10008.5.1.4.1.1.77.1.4")
PHOTO_QUALITY: Final = 95
"""Of a JPEG that has to be made anew: one that is turned by its EXIF data, progressive, or no plain colour."""
_ORIENTATION: Final = 0x0112
_BASELINE: Final = 0xC0


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose the object is and which study it joins: texts as the header has them, empty where nobody knows."""

    study_instance_uid: str
    dicom_patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: datetime.date | None = None
    patient_sex: str = ""
    study_date: datetime.date | None = None
    study_time: datetime.time | None = None
    study_id: str = ""
    accession_number: str = ""
    study_description: str = ""
    referring_physician_name: str = ""

    def to_plain(self) -> dict[str, str]:
        """Return it as texts, for a child process."""
        values = asdict(self)
        return {name: value if isinstance(value, str) else value.isoformat() for name, value in values.items() if value}

    @classmethod
    def from_plain(cls, values: dict[str, str]) -> "Subject":
        """Read what `to_plain` returned."""
        parsed: dict[str, Any] = dict(values)
        for name in ("patient_birth_date", "study_date"):
            if name in parsed:
                parsed[name] = datetime.date.fromisoformat(parsed[name])
        if "study_time" in parsed:
            parsed["study_time"] = datetime.time.fromisoformat(parsed["study_time"])
        return cls(**parsed)


def encapsulated_pdf(content: bytes, subject: Subject, *, title: str, made_at: datetime.datetime, seed: str) -> bytes:
    """Return the Part 10 file of a PDF. `seed` names the document: series and instance get their UIDs from it."""
    made = _object(ENCAPSULATED_PDF, subject, title=title, made_at=made_at, seed=seed, modality="DOC")
    # Encapsulated Document module (PS3.3 C.24.2). Whether names stand in the pages nobody can tell: assume it.
    made.AcquisitionDateTime = None
    made.BurnedInAnnotation = "YES"
    made.DocumentTitle = title
    made.ConceptNameCodeSequence = Sequence()
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made["EncapsulatedDocument"].VR = "OB"
    made.EncapsulatedDocumentLength = len(content)
    return _part10(made, ExplicitVRLittleEndian)


def photograph(content: bytes, subject: Subject, *, title: str, made_at: datetime.datetime, seed: str) -> bytes:
    """Return the Part 10 file of a JPEG or PNG photograph.

    A plain baseline JPEG keeps its bytes. What lossless pixels there are (PNG) stay lossless. Raises `RejectedError`
    (`undecodable`) for what is no picture.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
            made = _object(VL_PHOTOGRAPHIC, subject, title=title, made_at=made_at, seed=seed, modality="XC")
            made.update(_picture(image, content))
            is_compressed = image.format == "JPEG"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RejectedError(Code.UNDECODABLE) from error
    # Acquisition Context (C.7.6.14), VL Image (C.8.12.1): type 2 and 1 attributes of which nothing is known.
    made.AcquisitionContextSequence = Sequence()
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.ContentDate, made.ContentTime = _date(made_at), _time(made_at)
    made.AcquisitionDateTime = None
    made.BurnedInAnnotation = "YES"
    made.PatientOrientation = None
    return _part10(made, JPEGBaseline8Bit if is_compressed else ExplicitVRLittleEndian)


def _picture(image: Image.Image, content: bytes) -> Dataset:
    """Return the Image Pixel attributes (C.7.6.3), the pixels and what is said about their loss (C.7.6.1.1.5)."""
    made = Dataset()
    profile = image.info.get("icc_profile")
    is_jpeg = image.format == "JPEG"
    if is_jpeg and not _is_plain(image, content):
        turned = ImageOps.exif_transpose(image).convert("L" if image.mode == "L" else "RGB")
        out = io.BytesIO()
        turned.save(out, "JPEG", quality=PHOTO_QUALITY, subsampling="4:2:2")
        image, content = turned, out.getvalue()
        profile = profile if image.mode == "RGB" else None
    elif not is_jpeg:
        image = _opaque(image)
    is_grey = image.mode == "L"
    made.SamplesPerPixel = 1 if is_grey else 3
    # The class knows one name for the colours of a JPEG (C.8.12.1.1.1); decoders take the sampling from its own head.
    made.PhotometricInterpretation = "MONOCHROME2" if is_grey else "YBR_FULL_422" if is_jpeg else "RGB"
    if not is_grey:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = image.height, image.width
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    if is_jpeg:
        made.PixelData = encapsulate([content + b"\0" * (len(content) % 2)])
        made["PixelData"].is_undefined_length = True
        ratio = image.width * image.height * made.SamplesPerPixel / max(len(content), 1)
        made.LossyImageCompression = "01"
        made.LossyImageCompressionRatio = f"{ratio:.2f}"
        made.LossyImageCompressionMethod = "ISO_10918_1"
    else:
        pixels = np.asarray(image, dtype=np.uint8).tobytes()
        made.PixelData = pixels + b"\0" * (len(pixels) % 2)
        made.LossyImageCompression = "00"
    made["PixelData"].VR = "OB"
    if not is_grey and isinstance(profile, bytes) and _is_colour_profile(profile):
        made.ICCProfile = profile + b"\0" * (len(profile) % 2)
    return made


def _sampling(image: Image.Image) -> set[tuple[int, int]]:
    """Return the sampling factors (horizontal, vertical) of a JPEG's components."""
    return {(horizontal, vertical) for _name, horizontal, vertical, _table in getattr(image, "layer", [])}


def _is_plain(image: Image.Image, content: bytes) -> bool:
    """Say whether the JPEG can go into the object as it is: baseline, grey or YCbCr, and upright."""
    is_422_or_less = image.mode == "L" or _sampling(image) <= {(1, 1), (2, 1), (2, 2)}
    is_baseline = not image.info.get("progressive") and getattr(image, "bits", 8) == 8
    is_upright = image.getexif().get(_ORIENTATION, 1) == 1
    is_ybr = image.mode == "L" or ("adobe_transform" not in image.info or image.info["adobe_transform"] == 1)
    starts_baseline = bytes([0xFF, _BASELINE]) in content[: 1 << 20]
    return image.mode in ("L", "RGB") and is_422_or_less and is_baseline and is_upright and is_ybr and starts_baseline


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture in 8-bit grey or colour; what is transparent becomes white."""
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.uint32)
        return Image.fromarray((samples >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return image.convert("RGB")


def _is_colour_profile(profile: bytes) -> bool:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "RGB"
    except (OSError, ImageCms.PyCMSError):
        return False


def _object(
    sop_class_uid: UID, subject: Subject, *, title: str, made_at: datetime.datetime, seed: str, modality: str
) -> Dataset:
    """Return what both kinds have: Patient, General Study, series, equipment and SOP Common modules."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = sop_class_uid
    made.SOPInstanceUID = make_uid(f"{seed} instance")
    made.InstanceCreationDate, made.InstanceCreationTime = _date(made_at), _time(made_at)
    made.PatientName = subject.patient_name
    made.PatientID = subject.dicom_patient_id
    if subject.issuer_of_patient_id:
        made.IssuerOfPatientID = subject.issuer_of_patient_id
    made.PatientBirthDate = f"{subject.patient_birth_date:%Y%m%d}" if subject.patient_birth_date else ""
    made.PatientSex = subject.patient_sex if subject.patient_sex in ("M", "F", "O") else ""
    made.StudyInstanceUID = subject.study_instance_uid
    made.StudyDate = f"{subject.study_date:%Y%m%d}" if subject.study_date else ""
    made.StudyTime = f"{subject.study_time:%H%M%S}" if subject.study_time else ""
    made.StudyID = subject.study_id
    made.AccessionNumber = subject.accession_number
    if subject.study_description:
        made.StudyDescription = subject.study_description
    made.ReferringPhysicianName = subject.referring_physician_name
    made.Modality = modality
    made.SeriesInstanceUID = make_uid(f"{seed} series")
    made.SeriesNumber = 1
    made.SeriesDescription = title[:64]
    made.SeriesDate, made.SeriesTime = _date(made_at), _time(made_at)
    made.Laterality = ""
    made.Manufacturer = "Viewbox"
    made.ManufacturerModelName = "Viewbox"
    # SC Equipment (C.8.6.1): brought over from something that is not DICOM.
    made.ConversionType = "DI" if modality == "XC" else "WSD"
    made.InstanceNumber = 1
    made.ContentDate, made.ContentTime = _date(made_at), _time(made_at)
    return made


def _part10(made: Dataset, transfer_syntax_uid: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, made, enforce_file_format=True)
    return out.getvalue()


def _date(at: datetime.datetime) -> str:
    return f"{at:%Y%m%d}"


def _time(at: datetime.datetime) -> str:
    return f"{at:%H%M%S}"
