"""De-identification after PS3.15 Annex E: a Part 10 file in, the same without identity out.

``deidentify`` does one file. The profile is data (``profile``), identifiers are mapped under a key (``mapping``),
pixels are looked at by a ``PixelCleaner`` the caller gives (``pixels``), and what may not be released without a
person raises ``NeedsReviewError``.
"""

from .engine import Result, deidentify
from .errors import NeedsReviewError, Reason
from .mapping import KeyTooShortError, Mapper
from .pixels import CleanedPixels, PixelCleaner, PixelJob
from .profile import PRESETS, Profile, preset
from .report import SOFTWARE, Report, merge_reports

__all__ = [
    "PRESETS",
    "SOFTWARE",
    "CleanedPixels",
    "KeyTooShortError",
    "Mapper",
    "NeedsReviewError",
    "PixelCleaner",
    "PixelJob",
    "Profile",
    "Reason",
    "Report",
    "Result",
    "deidentify",
    "is_available",
    "merge_reports",
    "preset",
]


def is_available() -> bool:
    """Say whether a clinic may be offered de-identification."""
    return True
