"""How an output says what was done to it: PS3.15 E.1.1 with the codes of CID 7050 (PS3.16)."""

from typing import Final

from .codec import Element, Item
from .profile import Profile

_CODES: Final[tuple[tuple[str, str, str], ...]] = (
    ("clean_pixel_data", "113101", "Clean Pixel Data Option"),
    ("clean_recognizable_visual_features", "113102", "Clean Recognizable Visual Features Option"),
    ("clean_graphics", "113103", "Clean Graphics Option"),
    ("clean_structured_content", "113104", "Clean Structured Content Option"),
    ("clean_descriptors", "113105", "Clean Descriptors Option"),
    ("retain_longitudinal_full_dates", "113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    ("retain_longitudinal_modified_dates", "113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("retain_patient_characteristics", "113108", "Retain Patient Characteristics Option"),
    ("retain_device_identity", "113109", "Retain Device Identity Option"),
    ("retain_uids", "113110", "Retain UIDs Option"),
    ("retain_safe_private", "113111", "Retain Safe Private Option"),
    ("retain_institution_identity", "113112", "Retain Institution Identity Option"),
)
_BASIC: Final = ("113100", "Basic Application Confidentiality Profile")


def method_codes(profile: Profile, *, pixels_were_cleaned: bool) -> list[tuple[str, str]]:
    """Return (code value, meaning) of what was applied.

    Clean Pixel Data is named where something looked at the pixels; Clean Recognizable Visual Features never, since
    faces are only warned of.
    """
    found = [_BASIC]
    for option, value, meaning in _CODES:
        if option == "clean_recognizable_visual_features" or not getattr(profile, option):
            continue
        if option == "clean_pixel_data" and not pixels_were_cleaned:
            continue
        if option == "retain_longitudinal_full_dates" and profile.retain_longitudinal_modified_dates:
            continue
        found.append((value, meaning))
    return found


def method_elements(profile: Profile, codes: list[tuple[str, str]], edition: str, program: str) -> list[Element]:
    """Return the elements that say so: (0012,0062) to (0012,0064) and (0028,0303)."""
    texts = [f"PS3.15 {edition} E.1-1", f"{program} {profile.name}"]
    items: list[Item] = [
        [
            Element(0x00080100, "SH", value.encode()),
            Element(0x00080102, "SH", b"DCM"),
            Element(0x00080104, "LO", meaning[:64].encode()),
        ]
        for value, meaning in codes
    ]
    if profile.retain_longitudinal_modified_dates:
        dates = b"MODIFIED"
    elif profile.retain_longitudinal_full_dates:
        dates = b"UNMODIFIED"
    else:
        dates = b"REMOVED"
    return [
        Element(0x00120062, "CS", b"YES"),
        Element(0x00120063, "LO", "\\".join(texts).encode()),
        Element(0x00120064, "SQ", items),
        Element(0x00280303, "CS", dates),
    ]
