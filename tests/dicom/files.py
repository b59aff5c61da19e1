"""Small DICOM files made for one test each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from apps.dicom.uid import make_uid

SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")


def dataset(**attributes: Any) -> Dataset:
    """A data set with the UIDs every instance needs, and what the test wants."""
    made = Dataset()
    made.SOPClassUID = SECONDARY_CAPTURE
    made.SOPInstanceUID = make_uid("instance")
    made.StudyInstanceUID = make_uid("study")
    made.SeriesInstanceUID = make_uid("series")
    made.Modality = "OT"
    made.PatientID = "P1"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def grey(rows: int, columns: int, frames: int = 1, *, bits: int = 8, data: bytes | None = None, **more: Any) -> Dataset:
    """A grey image; without ``data``, every sample of frame n is n."""
    made = dataset(
        Rows=rows,
        Columns=columns,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        NumberOfFrames=frames,
    )
    if data is None:
        data = b"".join(n.to_bytes(bits // 8, "little") * (rows * columns) for n in range(1, frames + 1))
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB" if bits <= 8 else "OW"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def part10(made: Dataset, transfer_syntax_uid: UID = ExplicitVRLittleEndian) -> bytes:
    """The file of a data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.get("SOPClassUID", SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID") or UID("1.2")
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = UID("1.2.3.4")
    made.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, made, enforce_file_format=True)
    return out.getvalue()


def head(transfer_syntax_uid: UID = ExplicitVRLittleEndian) -> bytes:
    """Preamble and file meta information alone; a test adds the data set byte by byte."""
    whole = part10(dataset(), transfer_syntax_uid)
    return whole[: whole.index(b"\x08\x00\x16\x00")]


def deflated(data: bytes) -> bytes:
    """A file whose deflated data set inflates to ``data``."""
    meta_length = struct.pack("<I", 8 + len(DeflatedExplicitVRLittleEndian) + len(DeflatedExplicitVRLittleEndian) % 2)
    syntax = DeflatedExplicitVRLittleEndian.encode() + b"\0" * (len(DeflatedExplicitVRLittleEndian) % 2)
    meta = b"\x02\x00\x00\x00UL\x04\x00" + meta_length + element(0x00020010, "UI", syntax)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"\0" * 128 + b"DICM" + meta + deflater.compress(data) + deflater.flush()


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian, with the length a test wants to claim."""
    length = len(value) if length is None else length
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN", "UT", "OV", "OF", "OD", "OL", "UC"):
        return start + struct.pack("<HI", 0, length) + value
    return start + struct.pack("<H", length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    """An item of a sequence, or a fragment of encapsulated pixel data."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
UNDEFINED = 0xFFFFFFFF


def encapsulated(
    fragments: list[bytes], transfer_syntax_uid: UID, *, table: bytes = b"", extended: bytes = b"", **attributes: Any
) -> bytes:
    """A file with compressed pixel data of exactly these fragments and this offset table."""
    made = grey(4, 4, **attributes)
    del made.PixelData
    body = part10(made, transfer_syntax_uid)
    if extended:
        body += element(0x7FE00001, "OV", extended)
    chain = item(table) + b"".join(item(fragment) for fragment in fragments) + SEQUENCE_END
    return body + element(0x7FE00010, "OB", chain, UNDEFINED)
