"""De-identification after PS3.15 Annex E: the room and its switches. The engine is not there yet.

Nothing here changes a data set. ``deidentify`` refuses until it can do what it says, and ``is_available``
lets pages leave the choice out, so that nothing is called anonymised that is not.
"""

from dataclasses import dataclass
from typing import BinaryIO, Final, NoReturn

from ..errors import NotAvailableError
from .errors import NeedsReviewError, Reason
from .pixels import CleanedPixels, PixelCleaner, PixelJob

__all__ = [
    "CleanedPixels",
    "NeedsReviewError",
    "PixelCleaner",
    "PixelJob",
    "Profile",
    "Reason",
    "deidentify",
    "is_available",
]

IS_AVAILABLE: Final = False


@dataclass(frozen=True, slots=True)
class Profile:
    """The Basic Application Level Confidentiality Profile with its options (PS3.15 table E.1-1).

    Each switch is an option of the standard: on means the option is applied.
    """

    retain_safe_private: bool = False
    retain_uids: bool = False
    retain_device_identity: bool = False
    retain_institution_identity: bool = False
    retain_patient_characteristics: bool = False
    retain_longitudinal_full_dates: bool = False
    retain_longitudinal_modified_dates: bool = False
    clean_descriptors: bool = True
    clean_structured_content: bool = True
    clean_graphics: bool = True
    clean_pixel_data: bool = True
    clean_recognizable_visual_features: bool = False


def is_available() -> bool:
    """Say whether a clinic may be offered de-identification."""
    return IS_AVAILABLE


def deidentify(
    file: BinaryIO | bytes, profile: Profile, key: bytes, *, pixel_cleaner: PixelCleaner | None = None
) -> NoReturn:
    """Raise ``NotAvailableError``: the engine is still to come.

    It will return a ``Result``: ``data`` (the de-identified Part 10 file), ``report`` (what was done, without any old
    value), or raise ``NeedsReviewError`` (``needs-review`` with a ``reason``) or ``RejectedError``.
    """
    raise NotAvailableError
