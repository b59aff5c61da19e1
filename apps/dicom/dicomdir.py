"""DICOMDIR: the directory of a File-set on a medium (PS3.3 Annex F, PS3.10 section 8), made from metadata alone.

No file is read for it: the DICOM JSON of a series (PS3.18 F) holds every key. A key that a file lacks and the directory
must have is filled in as media makers do; what the files say stays untouched.
"""

import functools
import hashlib
import itertools
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from .uid import IMPLEMENTATION_CLASS_UID

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
FILE_ID_MAX_COMPONENTS: Final = 8
FILE_ID_MAX_LENGTH: Final = 8

Json = Mapping[str, Any]
Keys = Sequence[tuple[str, Any]]

# Keys of a record with what stands in for a missing value: None leaves the key out, "" leaves it empty (type 2).
_PATIENT: Final[Keys] = (
    ("PatientName", ""),
    ("PatientID", "UNKNOWN"),
    ("PatientBirthDate", None),
    ("PatientSex", None),
)
_STUDY: Final[Keys] = (
    ("StudyDate", "19000101"),
    ("StudyTime", "000000"),
    ("AccessionNumber", ""),
    ("StudyDescription", ""),
    ("StudyInstanceUID", None),
    ("StudyID", "1"),
)
_SERIES: Final[Keys] = (
    ("Modality", "OT"),
    ("SeriesDescription", None),
    ("SeriesInstanceUID", None),
    ("SeriesNumber", "0"),
)
_NUMBER: Final = ("InstanceNumber", "1")
_CONTENT: Final[Keys] = (("ContentDate", "19000101"), ("ContentTime", "000000"), _NUMBER)
_LABELLED: Final[Keys] = (
    *_CONTENT,
    ("ContentLabel", "UNNAMED"),
    ("ContentDescription", ""),
    ("ContentCreatorName", ""),
)
_IMAGE: Final[Keys] = (
    ("ImageType", None),
    _NUMBER,
    ("NumberOfFrames", None),
    ("Rows", None),
    ("Columns", None),
    ("FrameOfReferenceUID", None),
    ("ImagePositionPatient", None),
    ("ImageOrientationPatient", None),
)
# The keys of PS3.3 F.5, by record type.
_LEAVES: Final[Mapping[str, Keys]] = {
    "IMAGE": _IMAGE,
    "RT DOSE": (_NUMBER, ("DoseSummationType", "PLAN")),
    "RT STRUCTURE SET": (
        _NUMBER,
        ("StructureSetLabel", "UNNAMED"),
        ("StructureSetDate", ""),
        ("StructureSetTime", ""),
    ),
    "RT PLAN": (_NUMBER, ("RTPlanLabel", "UNNAMED"), ("RTPlanDate", ""), ("RTPlanTime", "")),
    "RT TREAT RECORD": (_NUMBER, ("TreatmentDate", ""), ("TreatmentTime", "")),
    "PRESENTATION": (
        _NUMBER,
        ("ContentLabel", "UNNAMED"),
        ("ContentDescription", ""),
        ("PresentationCreationDate", "19000101"),
        ("PresentationCreationTime", "000000"),
        ("ContentCreatorName", ""),
        ("ReferencedSeriesSequence", None),
        ("BlendingSequence", None),
    ),
    "WAVEFORM": _CONTENT,
    "RAW DATA": _CONTENT,
    "SR DOCUMENT": (
        *_CONTENT,
        ("CompletionFlag", "PARTIAL"),
        ("VerificationFlag", "UNVERIFIED"),
        ("VerificationDateTime", None),
        ("ConceptNameCodeSequence", None),
        ("ContentSequence", None),
    ),
    "KEY OBJECT DOC": (*_CONTENT, ("ConceptNameCodeSequence", None), ("ContentSequence", None)),
    "SPECTROSCOPY": (
        ("ImageType", "ORIGINAL"),
        *_CONTENT,
        ("NumberOfFrames", "1"),
        ("Rows", 1),
        ("Columns", 1),
        ("DataPointRows", 1),
        ("DataPointColumns", 1),
    ),
    "REGISTRATION": _LABELLED,
    "FIDUCIAL": _LABELLED,
    "VALUE MAP": _LABELLED,
    "MEASUREMENT": _LABELLED,
    "SURFACE": _LABELLED,
    "TRACT": _LABELLED,
    "STEREOMETRIC": (),
    "ENCAP DOC": (
        ("ContentDate", ""),
        ("ContentTime", ""),
        _NUMBER,
        ("DocumentTitle", ""),
        ("ConceptNameCodeSequence", ""),
        ("HL7InstanceIdentifier", None),
        ("MIMETypeOfEncapsulatedDocument", "application/octet-stream"),
    ),
}
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
# Which record an instance gets, by the beginning of what follows the arc of Storage SOP Classes (PS3.4 B.5).
_TYPES: Final[tuple[tuple[str, str], ...]] = (
    ("481.2", "RT DOSE"),
    ("481.3", "RT STRUCTURE SET"),
    ("481.5", "RT PLAN"),
    ("481.8", "RT PLAN"),
    ("481.4", "RT TREAT RECORD"),
    ("481.6", "RT TREAT RECORD"),
    ("481.7", "RT TREAT RECORD"),
    ("481.9", "RT TREAT RECORD"),
    ("11", "PRESENTATION"),
    ("9", "WAVEFORM"),
    ("88.59", "KEY OBJECT DOC"),
    ("88", "SR DOCUMENT"),
    ("104", "ENCAP DOC"),
    ("4.2", "SPECTROSCOPY"),
    ("66.1", "REGISTRATION"),
    ("66.3", "REGISTRATION"),
    ("66.2", "FIDUCIAL"),
    ("66.4", "IMAGE"),
    ("66.5", "SURFACE"),
    ("66.6", "TRACT"),
    ("66.7", "IMAGE"),
    ("66", "RAW DATA"),
    ("67", "VALUE MAP"),
    ("77.1.5.3", "STEREOMETRIC"),
    ("78", "MEASUREMENT"),
)
_RELATIONSHIP: Final = "0040A010"
_CONTENT_SEQUENCE: Final = "0040A730"
_IN_USE: Final = 0xFFFF
# Explicit VR Little Endian: where the two offsets stand in an encoded record, which begins with them.
_NEXT_AT, _LOWER_AT = 8, 30
_SEQUENCE_HEADER_BYTES: Final = 12
_ITEM_HEADER_BYTES: Final = 8


@dataclass(frozen=True)
class Entry:
    """One file of the File-set: its File ID components, what it is, and its metadata (PS3.18 F)."""

    file_id: tuple[str, ...]
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    metadata: Json


@dataclass
class _Node:
    record: bytes
    children: list["_Node"] = field(default_factory=list)
    offset: int = 0


def record_type(sop_class_uid: str) -> str:
    """Return the DirectoryRecordType (0004,1430) of an instance of this SOP class; IMAGE for what nobody knows."""
    arc = sop_class_uid.removeprefix(_STORAGE)
    if arc == sop_class_uid:
        return "IMAGE"
    for beginning, found in _TYPES:
        if arc == beginning or arc.startswith(f"{beginning}."):
            return found
    return "IMAGE"


def is_file_id(components: Sequence[str]) -> bool:
    """Return whether these components may name a file of a File-set (PS3.10 8.2)."""
    allowed = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
    return 0 < len(components) <= FILE_ID_MAX_COMPONENTS and all(
        0 < len(component) <= FILE_ID_MAX_LENGTH and allowed.issuperset(component) for component in components
    )


def make_dicomdir(entries: Iterable[Entry], file_set_id: str = "VIEWBOX") -> bytes:
    """Return the DICOMDIR of these files: Explicit VR Little Endian, the same bytes for the same files.

    Patients, studies and series come in the order in which the entries name them first. Raises ValueError for a File ID
    that no medium may carry.
    """
    roots, digest = _tree(entries)
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(MEDIA_STORAGE_DIRECTORY)
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    head = DicomBytesIO()
    head.write(bytes(128) + b"DICM")
    write_file_meta_info(head, meta, enforce_standard=True)
    ordered = list(_in_order(roots))
    identification = _encoded({"FileSetID": file_set_id})
    # Two UL elements and a US one, 12, 12 and 10 bytes long, stand before the sequence.
    start = head.tell() + len(identification) + 34 + _SEQUENCE_HEADER_BYTES
    for node in ordered:
        node.offset = start
        start += _ITEM_HEADER_BYTES + len(node.record)
    first, last = (roots[0].offset, roots[-1].offset) if roots else (0, 0)
    places = _encoded(
        {
            "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity": first,
            "OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity": last,
            "FileSetConsistencyFlag": 0,
        }
    )
    items = b"".join(_items(ordered, _followers(roots)))
    sequence = struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, len(items))
    return bytes(head.getvalue()) + identification + places + sequence + items


def _tree(entries: Iterable[Entry]) -> tuple[list[_Node], bytes]:
    """Return the patients' nodes, and a digest of what was named."""
    roots: list[_Node] = []
    known: dict[tuple[str, ...], _Node] = {}
    digest = hashlib.sha256()
    for entry in entries:
        if not is_file_id(entry.file_id):
            raise ValueError("A File ID has up to 8 components of up to 8 capital letters, digits and underscores.")
        digest.update(f"{'/'.join(entry.file_id)} {entry.sop_instance_uid}\n".encode())
        patient = _values(entry.metadata, ("00100020", "00100021", "00100010"))
        study = (*patient, *_values(entry.metadata, ("0020000D",)))
        series = (*study, *_values(entry.metadata, ("0020000E",)))
        siblings = roots
        for key, kind, keys in ((patient, "PATIENT", _PATIENT), (study, "STUDY", _STUDY), (series, "SERIES", _SERIES)):
            named = (kind, *key)
            if named not in known:
                known[named] = _Node(_record(kind, keys, entry.metadata))
                siblings.append(known[named])
            siblings = known[named].children
        kind = record_type(entry.sop_class_uid)
        siblings.append(_Node(_record(kind, _LEAVES[kind], entry.metadata, entry)))
    return roots, digest.digest()


def _values(metadata: Json, tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(metadata.get(tag, {}).get("Value", "")) for tag in tags)


def _record(kind: str, keys: Keys, metadata: Json, entry: Entry | None = None) -> bytes:
    """Return one encoded directory record, its offsets still 0."""
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = _IN_USE
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    if entry is not None:
        record.ReferencedFileID = list(entry.file_id)
        record.ReferencedSOPClassUIDInFile = UID(entry.sop_class_uid)
        record.ReferencedSOPInstanceUIDInFile = UID(entry.sop_instance_uid)
        record.ReferencedTransferSyntaxUIDInFile = UID(entry.transfer_syntax_uid)
    present = {tag: found for keyword, _ in keys if (found := _found(tag := _tag(keyword), metadata)) is not None}
    record.update(Dataset.from_json(present))
    for keyword, missing in keys:
        if missing is not None and _tag(keyword) not in present:
            setattr(record, keyword, [] if keyword.endswith("Sequence") else missing)
    record.SpecificCharacterSet = "ISO_IR 192"
    return _bytes_of(record)


@functools.cache
def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def _found(tag: str, metadata: Json) -> Json | None:
    """Return the element as the metadata has it; None when it is absent or has no value."""
    found: Json | None = metadata.get(tag)
    if not found or not found.get("Value"):
        return None
    if tag != _CONTENT_SEQUENCE:
        return found
    # F.5.24: of a report's content only the modifiers of its title belong here.
    kept = [item for item in found["Value"] if item.get(_RELATIONSHIP, {}).get("Value") == ["HAS CONCEPT MOD"]]
    return {**found, "Value": kept} if kept else None


def _encoded(elements: Mapping[str, Any]) -> bytes:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return _bytes_of(dataset)


def _bytes_of(dataset: Dataset) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, dataset)
    return bytes(file.getvalue())


def _in_order(nodes: Sequence[_Node]) -> Iterable[_Node]:
    for node in nodes:
        yield node
        yield from _in_order(node.children)


def _followers(nodes: Sequence[_Node]) -> dict[int, _Node]:
    """Return for each node, by identity, the one that follows it in its directory entity."""
    found = {id(node): after for node, after in itertools.pairwise(nodes)}
    for node in nodes:
        found |= _followers(node.children)
    return found


def _items(ordered: Sequence[_Node], followers: Mapping[int, _Node]) -> Iterable[bytes]:
    for node in ordered:
        after = followers.get(id(node))
        record = bytearray(node.record)
        struct.pack_into("<I", record, _NEXT_AT, after.offset if after else 0)
        struct.pack_into("<I", record, _LOWER_AT, node.children[0].offset if node.children else 0)
        yield struct.pack("<HHI", 0xFFFE, 0xE000, len(record))
        yield bytes(record)
