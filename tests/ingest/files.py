"""Small DICOM files and archives made for the tests of the way in."""

import io
import zipfile
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from apps.dicom.uid import make_uid

PIXEL_RUN = bytes(range(7, 247)) * 2 + bytes(32)  # 16 x 16 of 16 bits, in no other file


def part10(**values: Any) -> bytes:
    """A CT instance of 16 x 16 pixels; keywords overwrite its attributes, None removes one."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = make_uid()
    ds.StudyInstanceUID = make_uid()
    ds.SeriesInstanceUID = make_uid()
    ds.PatientName = "Quellenhuber^Ottilie"
    ds.PatientID = "QX-77"
    ds.PatientBirthDate = "19510203"
    ds.PatientSex = "F"
    ds.StudyDate = "20250102"
    ds.Modality = "CT"
    ds.InstanceNumber = 1
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.PixelData = PIXEL_RUN
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "") or "1.2.3"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def series(count: int, **values: Any) -> list[bytes]:
    """`count` instances of one series."""
    shared = {"StudyInstanceUID": make_uid(), "SeriesInstanceUID": make_uid()} | values
    return [part10(InstanceNumber=number, **shared) for number in range(1, count + 1)]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP file of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()
