"""What a file says about itself: the facts of its header, and the data set they were read from."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from . import elements, sop_classes
from .frames import PixelIndex


@dataclass(frozen=True, slots=True)
class ElementPlace:
    """Where the value of a large top-level element lies: in the file, or in the inflated data set of one."""

    tag: int
    vr: str
    offset: int
    length: int
    is_little_endian: bool


class HeaderDataset(Dataset):
    """A data set without its pixels and without its large binary values, and the places of those."""

    places: Mapping[int, ElementPlace]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = {}


NO_DATASET: Final = HeaderDataset()
"""The data set of a header whose elements stayed where it was read: in a child process, or unread."""


@dataclass(slots=True)
class Header:
    """What a file says about itself. Texts are decoded and stripped, and '' when absent.

    ``dataset`` is the data set without pixels (``NO_DATASET`` from ``limited``); ``pixels`` says where those are, or is
    None.
    """

    dataset: HeaderDataset
    transfer_syntax_uid: str
    has_file_meta: bool
    file_size: int
    """Bytes of the file."""
    implementation_class_uid: str
    source_application_entity_title: str

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str

    patient_name: str
    dicom_patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: datetime.date | None
    patient_sex: str

    study_date: datetime.date | None
    study_time: datetime.time | None
    study_id: str
    accession_number: str
    study_description: str
    referring_physician_name: str

    series_number: int | None
    modality: str
    series_description: str
    body_part_examined: str
    laterality: str
    protocol_name: str
    series_date: datetime.date | None
    series_time: datetime.time | None
    institution_name: str
    manufacturer: str
    manufacturer_model_name: str
    station_name: str
    frame_of_reference_uid: str

    instance_number: int | None
    image_type: tuple[str, ...]
    acquisition_number: int | None
    content_date: datetime.date | None
    content_time: datetime.time | None
    document_title: str
    concept_name: str
    """Meaning of the concept name of a structured report's root, such as "Chest X-ray report"."""

    rows: int | None
    columns: int | None
    number_of_frames: int
    """At least 1, also for objects without frames."""
    bits_allocated: int | None
    bits_stored: int | None
    samples_per_pixel: int | None
    photometric_interpretation: str
    pixel_spacing: tuple[float, ...]
    """Millimetres between rows, then between columns; empty when absent."""
    slice_thickness: float | None
    image_position_patient: tuple[float, ...]
    image_orientation_patient: tuple[float, ...]
    frame_time: float | None
    """Milliseconds a frame of a cine, or None."""

    pixels: PixelIndex | None = field(default=None)

    @property
    def has_pixels(self) -> bool:
        """Whether there is at least one frame."""
        return self.pixels is not None and self.pixels.number_of_frames > 0

    @property
    def kind(self) -> sop_classes.Kind:
        """What kind of object this is."""
        return sop_classes.kind(self.sop_class_uid)


def header_of(dataset: HeaderDataset, transfer_syntax_uid: str, meta: Dataset | None, file_size: int) -> Header:
    """Return what a data set and its file meta information say, without the pixels."""
    encodings = elements.encodings_of(dataset)

    def text(tag: int) -> str:
        return elements.text(dataset, tag, encodings)

    def person_name(tag: int) -> str:
        # Component groups left empty at the end may be written or not (PS3.5 6.2.1.1): one form is kept.
        return text(tag).rstrip("=")

    def integer(tag: int) -> int | None:
        return elements.integer(dataset, tag)

    def number(tag: int) -> float | None:
        values = elements.numbers(dataset, tag)
        return values[0] if values else None

    meta = Dataset() if meta is None else meta
    spacing = (0x00280030, 0x00181164, 0x00182010)
    return Header(
        dataset=dataset,
        transfer_syntax_uid=transfer_syntax_uid,
        has_file_meta=len(meta) > 0,
        file_size=file_size,
        implementation_class_uid=elements.text(meta, 0x00020012),
        source_application_entity_title=elements.text(meta, 0x00020016),
        sop_class_uid=elements.identifier(dataset, 0x00080016),
        sop_instance_uid=elements.identifier(dataset, 0x00080018),
        study_instance_uid=elements.identifier(dataset, 0x0020000D),
        series_instance_uid=elements.identifier(dataset, 0x0020000E),
        patient_name=person_name(0x00100010),
        dicom_patient_id=text(0x00100020),
        issuer_of_patient_id=text(0x00100021),
        patient_birth_date=elements.date(dataset, 0x00100030),
        patient_sex=text(0x00100040),
        study_date=elements.date(dataset, 0x00080020),
        study_time=elements.time(dataset, 0x00080030),
        study_id=text(0x00200010),
        accession_number=text(0x00080050),
        study_description=text(0x00081030),
        referring_physician_name=person_name(0x00080090),
        series_number=integer(0x00200011),
        modality=text(0x00080060),
        series_description=text(0x0008103E),
        body_part_examined=text(0x00180015),
        laterality=text(0x00200060) or text(0x00200062),
        protocol_name=text(0x00181030),
        series_date=elements.date(dataset, 0x00080021),
        series_time=elements.time(dataset, 0x00080031),
        institution_name=text(0x00080080),
        manufacturer=text(0x00080070),
        manufacturer_model_name=text(0x00081090),
        station_name=text(0x00081010),
        frame_of_reference_uid=text(0x00200052),
        instance_number=integer(0x00200013),
        image_type=tuple(elements.strings(dataset, 0x00080008)),
        acquisition_number=integer(0x00200012),
        content_date=elements.date(dataset, 0x00080023),
        content_time=elements.time(dataset, 0x00080033),
        document_title=text(0x00420010),
        concept_name=_concept_name(dataset, encodings),
        rows=integer(0x00280010),
        columns=integer(0x00280011),
        number_of_frames=max(1, integer(0x00280008) or 1),
        bits_allocated=integer(0x00280100),
        bits_stored=integer(0x00280101),
        samples_per_pixel=integer(0x00280002),
        photometric_interpretation=text(0x00280004).upper(),
        pixel_spacing=next((values for values in (elements.numbers(dataset, tag) for tag in spacing) if values), ()),
        slice_thickness=number(0x00180050),
        image_position_patient=elements.numbers(dataset, 0x00200032),
        image_orientation_patient=elements.numbers(dataset, 0x00200037),
        frame_time=number(0x00181063),
    )


def _concept_name(dataset: Dataset, encodings: Sequence[str]) -> str:
    element = dataset[0x0040A043].value if 0x0040A043 in dataset else None
    if not isinstance(element, DicomSequence) or not element:
        return ""
    item = element[0]
    return elements.text(item, 0x00080104, elements.encodings_of(item, encodings))
