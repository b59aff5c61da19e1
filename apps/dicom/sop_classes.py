"""What kind of object an instance is, by its SOP Class UID (PS3.4 B.5), and what to call it."""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"

VIDEO_TRANSFER_SYNTAXES: Final = frozenset(
    f"1.2.840.10008.1.2.4.{suffix}"
    for suffix in (
        "100", "100.1", "101", "101.1", "102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1",
        "107", "108",
    )
) | {"1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2"}  # fmt: skip


class Kind(StrEnum):
    """What a person would do with the object."""

    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"
    REPORT = "report"
    WAVEFORM = "waveform"
    SEGMENTATION = "segmentation"
    PRESENTATION_STATE = "presentation-state"
    RADIOTHERAPY = "radiotherapy"
    OTHER = "other"


_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_DOCUMENTS: Final = {
    _STORAGE + "104.1": "application/pdf",
    _STORAGE + "104.2": "text/XML",
    _STORAGE + "104.3": "model/stl",
    _STORAGE + "104.4": "model/obj",
    _STORAGE + "104.5": "model/mtl",
}
_VIDEOS: Final = frozenset(_STORAGE + suffix for suffix in ("77.1.1.1", "77.1.2.1", "77.1.4.1"))
_SEGMENTATIONS: Final = frozenset(_STORAGE + suffix for suffix in ("66.4", "66.5", "66.7", "66.8"))
# Storage classes that hold pixels though their names do not say "Image".
_OTHER_IMAGES: Final = frozenset(_STORAGE + suffix for suffix in ("6.2", "30", "77.1.5.8", "81.1", "82.1", "481.2"))
_NON_PATIENT: Final = frozenset(
    ["1.2.840.10008.5.1.4.38.1", "1.2.840.10008.5.1.4.39.1"]
    + [f"1.2.840.10008.5.1.4.{arc}.1" for arc in (43, 44, 45)]
    + [_STORAGE + suffix for suffix in ("200.1", "200.3", "200.7", "201.1")]
)
ENCAPSULATED_PDF: Final = _STORAGE + "104.1"
ENCAPSULATED_CDA: Final = _STORAGE + "104.2"
BASIC_TEXT_SR: Final = _STORAGE + "88.11"
KEY_OBJECT_SELECTION: Final = _STORAGE + "88.59"


def name(sop_class_uid: str) -> str:
    """Return the name of the SOP class for people, without the word Storage; the UID itself when unknown."""
    full = _dictionary_name(sop_class_uid)
    return full.removesuffix(" (Retired)").removesuffix(" Storage").replace(" Storage - ", " - ")


def _dictionary_name(uid: str) -> str:
    entry = UID_dictionary.get(uid)
    return entry[0] if entry else uid


def transfer_syntax_name(transfer_syntax_uid: str) -> str:
    """Return the name of a transfer syntax for people; the UID itself when unknown."""
    return _dictionary_name(transfer_syntax_uid).split(":")[0].removesuffix(" (Retired)")


def kind(sop_class_uid: str) -> Kind:
    """Say what kind of object this is. Unknown (private) classes are ``OTHER``; look for pixels there."""
    if sop_class_uid in _DOCUMENTS:
        return Kind.DOCUMENT
    if sop_class_uid in _VIDEOS:
        return Kind.VIDEO
    if sop_class_uid in _SEGMENTATIONS:
        return Kind.SEGMENTATION
    if sop_class_uid.startswith(_STORAGE + "88."):
        return Kind.REPORT
    if sop_class_uid.startswith(_STORAGE + "9.") and "Waveform" in _dictionary_name(sop_class_uid):
        return Kind.WAVEFORM
    if sop_class_uid.startswith(_STORAGE + "11."):
        return Kind.PRESENTATION_STATE
    if is_image(sop_class_uid):
        return Kind.IMAGE
    if sop_class_uid.startswith(_STORAGE + "481."):
        return Kind.RADIOTHERAPY
    return Kind.OTHER


def is_image(sop_class_uid: str) -> bool:
    """Say whether instances of the class normally hold pixels to be shown."""
    return (
        sop_class_uid in _OTHER_IMAGES
        or sop_class_uid in _VIDEOS
        or (sop_class_uid.startswith(_STORAGE) and " Image Storage" in _dictionary_name(sop_class_uid))
    )


def belongs_to_study(sop_class_uid: str) -> bool:
    """Say whether instances of the class are part of a patient's study; palettes, protocols and templates are not.

    PS3.4 GG lists the non-patient objects. Private classes are taken to belong to one.
    """
    return sop_class_uid not in _NON_PATIENT


def is_report(sop_class_uid: str) -> bool:
    """Say whether this is a structured report (PS3.3 A.35), key object selections included."""
    return kind(sop_class_uid) is Kind.REPORT


def is_encapsulated_pdf(sop_class_uid: str) -> bool:
    """Say whether this is an Encapsulated PDF (PS3.3 A.45.1)."""
    return sop_class_uid == ENCAPSULATED_PDF


def is_video(sop_class_uid: str, transfer_syntax_uid: str) -> bool:
    """Say whether the pixels are one video stream, which only its transfer syntax tells for sure."""
    return transfer_syntax_uid in VIDEO_TRANSFER_SYNTAXES


def document_media_type(sop_class_uid: str) -> str | None:
    """Return the media type of an encapsulated document's class, or None for anything else."""
    return _DOCUMENTS.get(sop_class_uid)


@lru_cache(maxsize=256)
def is_known_transfer_syntax(transfer_syntax_uid: str) -> bool:
    """Say whether PS3.6 lists this transfer syntax."""
    return UID(transfer_syntax_uid).is_transfer_syntax
