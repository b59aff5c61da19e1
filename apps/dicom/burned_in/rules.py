"""What is known before anybody looks: which objects can hold burned-in text, and where some devices write it.

Scanners make primary CT, MR, PET and NM images from measured signals, without a screen: no letters can be in them, a
study has thousands, and bone edges look like letters to a detector. They are not looked at, as long as they do not
say that they are something else (derived, secondary, a screen save, 8 bits, colour, BurnedInAnnotation YES). All other
images are.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from apps.dicom import elements, sop_classes
from apps.dicom.parse import Header

from .boxes import Box

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_MEASURED: Final = frozenset(
    _STORAGE + suffix
    for suffix in (
        "2", "2.1",  # CT, enhanced CT
        "4", "4.1", "4.2", "4.3",  # MR, enhanced MR, spectroscopy, enhanced colour MR
        "128", "130",  # PET, enhanced PET
        "20",  # NM
        "30", "66.4", "66.5", "66.7", "66.8",  # parametric maps, segmentations: numbers about other images
        "481.2",  # RT dose
        "11.1", "11.2",  # presentation states
    )
)  # fmt: skip
_SECONDARY: Final = frozenset(_STORAGE + suffix for suffix in ("7", "7.1", "7.2", "7.3", "7.4"))
_SCREEN_WORDS: Final = ("SECONDARY", "SCREEN", "CAPTURE", "DOSE", "REPORT", "PASTED", "FILM")
_BURNED_IN_ANNOTATION: Final = 0x00280301
_CONVERSION_TYPE: Final = 0x00080064
_REGION_EDGES: Final = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)


class Doubt(StrEnum):
    """Why a person should look before an instance is released. The values are a contract."""

    SECONDARY_CAPTURE = "secondary-capture"
    SCANNED = "scanned"
    SCREENSHOT = "screenshot"
    BURNED_IN_DECLARED = "burned-in-declared"


@dataclass(frozen=True, slots=True)
class Device:
    """Where a device writes; texts are parts of the attributes in upper case, 0 is any size."""

    manufacturer: str
    model: str
    rows: int
    columns: int
    boxes: tuple[Box, ...]
    says: str = ""
    """Must stand in ImageType or SeriesDescription."""


# Facts about devices, as the users of RSNA's Clinical Trial Processor gathered them (DicomPixelAnonymizer.script).
DEVICES: Final = (
    Device("GE MEDICAL", "", 512, 0, (Box(0, 0, 512, 200),), "IEC BODY DOSIMETRY"),
    Device("GE MEDICAL", "", 512, 0, (Box(0, 0, 512, 110),), "DOSE REPORT"),
    Device("GE MEDICAL", "", 512, 0, (Box(0, 0, 512, 80),), "AW ELECTRONIC FILM"),
    Device("GE MEDICAL", "", 0, 0, (Box(0, 0, 200, 250),), "AVA REPORT"),
    Device("SIEMENS", "", 860, 0, (Box(0, 0, 1132, 60),), "SECONDARY"),
    Device("PHILIPS", "", 0, 0, (Box(0, 0, 512, 135),), "DOSE"),
    Device("TOSHIBA", "AQUILION ONE", 512, 512, (Box(0, 0, 410, 240),), "SECONDARY"),
    Device("", "LOGIQ9", 0, 0, (Box(0, 0, 640, 40),)),
    Device("", "LOGIQE9", 0, 0, (Box(0, 0, 960, 70),)),
    Device("", "IU22", 480, 0, (Box(0, 0, 640, 47),)),
    Device("", "IU22", 600, 0, (Box(0, 0, 800, 59),)),
    Device("", "IU22", 768, 0, (Box(0, 0, 1024, 75),)),
    Device("", "Z_ONE", 0, 0, (Box(0, 0, 800, 65),)),
    Device("ATL", "HDI 5000", 476, 640, (Box(40, 0, 240, 40), Box(240, 0, 430, 16))),
    Device("SIEMENS", "ANTARES", 768, 1024, (Box(0, 0, 1024, 60), Box(200, 60, 220, 80), Box(800, 65, 904, 79))),
    Device("SIEMENS", "ACUSON", 600, 800, (Box(0, 0, 800, 43), Box(128, 56, 144, 72))),
    Device("ACUSON", "SEQUOIA", 480, 640, (Box(0, 0, 640, 30),)),
    Device("TOSHIBA", "A500", 720, 960, (Box(0, 0, 960, 60),)),
    Device("SUPERSONIC IMAGINE", "AIXPLORER", 1050, 1400, (Box(0, 0, 1000, 89),)),
    Device("CANON", "CXDI", 2592, 0, (Box(0, 0, 2208, 80), Box(0, 2512, 2208, 2592))),
    Device("ADAC", "", 832, 1024, (Box(0, 0, 1024, 60), Box(0, 762, 1024, 832))),
    Device("", "", 1077, 750, (Box(0, 0, 750, 230),), "MEDRAD"),
)


def may_hold_text(header: Header) -> bool:
    """Return whether somebody has to look at the pixels."""
    if not header.has_pixels:
        return False
    if header.sop_class_uid not in _MEASURED:
        return True
    if sop_classes.kind(header.sop_class_uid) is not sop_classes.Kind.IMAGE:
        return False
    said = " ".join(header.image_type).upper()
    is_measured = (
        (header.samples_per_pixel or 1) == 1
        and (header.bits_allocated or 16) > 8
        and not any(word in said for word in _SCREEN_WORDS)
        and not _is_burned_in(header)
    )
    return not is_measured


def doubts(header: Header) -> list[Doubt]:
    """Return why a person should look, however well the rules and the detector may do; most images give no reason."""
    found = []
    if _is_burned_in(header):
        found.append(Doubt.BURNED_IN_DECLARED)
    conversion = elements.text(header.dataset, _CONVERSION_TYPE).upper()
    if conversion in ("SD", "DF", "SI"):
        found.append(Doubt.SCANNED)
    elif header.sop_class_uid in _SECONDARY:
        found.append(Doubt.SECONDARY_CAPTURE)
    elif any(word in " ".join(header.image_type).upper() for word in ("SCREEN", "CAPTURE")):
        found.append(Doubt.SCREENSHOT)
    return found


def device_boxes(header: Header) -> list[Box]:
    """Return where this device is known to write."""
    manufacturer, model = header.manufacturer.upper(), header.manufacturer_model_name.upper()
    said = f"{' '.join(header.image_type)} {header.series_description}".upper()
    rows, columns = header.rows or 0, header.columns or 0
    return [
        box.within(columns, rows)
        for device in DEVICES
        if device.manufacturer in manufacturer
        and device.model in model
        and device.rows in (0, rows)
        and device.columns in (0, columns)
        and device.says in said
        for box in device.boxes
    ]


def outside_regions(header: Header) -> list[Box]:
    """Return the strips around the ultrasound regions of a frame (PS3.3 C.8.5.5): there is no ultrasound in them.

    Empty without regions, and where these are too small to be taken for the whole of the image.
    """
    rows, columns = header.rows or 0, header.columns or 0
    regions = []
    for item in header.dataset.get("SequenceOfUltrasoundRegions") or ():
        edges = [elements.numbers(item, tag) for tag in _REGION_EDGES]
        if all(edges):
            left, top, right, bottom = (int(edge[0]) for edge in edges)
            regions.append(Box(left, top, right + 1, bottom + 1).within(columns, rows))
    if not regions:
        return []
    left, top = min(region.left for region in regions), min(region.top for region in regions)
    right, bottom = max(region.right for region in regions), max(region.bottom for region in regions)
    if Box(left, top, right, bottom).area < 0.2 * rows * columns:
        return []
    strips = (
        Box(0, 0, columns, top),
        Box(0, bottom, columns, rows),
        Box(0, top, left, bottom),
        Box(right, top, columns, bottom),
    )
    return [strip for strip in strips if strip.area]


def _is_burned_in(header: Header) -> bool:
    return elements.text(header.dataset, _BURNED_IN_ANNOTATION).upper() == "YES"
