"""Private attributes that are known to hold no identity: those of PS3.15 table E.3.10-1 that are numbers.

Text attributes of that table are left out: a file from a stranger may hold anything in them.
"""

from typing import Final

SAFE_PRIVATE: Final[dict[tuple[str, int, int], str]] = {
    # (private creator, group, element within its block): VR
    ("ELSCINT1", 0x00E1, 0x50): "DS",
    ("ELSCINT1", 0x01F1, 0x07): "DS",
    ("ELSCINT1", 0x01F1, 0x27): "DS",
    ("GEMS_ACQU_01", 0x0019, 0x23): "DS",
    ("GEMS_ACQU_01", 0x0019, 0x24): "DS",
    ("GEMS_ACQU_01", 0x0019, 0x27): "DS",
    ("GEMS_ACQU_01", 0x0019, 0xBB): "DS",
    ("GEMS_ACQU_01", 0x0019, 0xBC): "DS",
    ("GEMS_ACQU_01", 0x0019, 0xBD): "DS",
    ("GEMS_PARM_01", 0x0043, 0x39): "IS",
    ("GEMS_PARM_01", 0x0043, 0x6F): "DS",
    ("Philips Imaging DD 001", 0x2001, 0x03): "FL",
    ("Philips MR Imaging DD 001", 0x2005, 0x0D): "FL",
    ("Philips MR Imaging DD 001", 0x2005, 0x0E): "FL",
    ("Philips PET Private Group", 0x7053, 0x00): "DS",
    ("Philips PET Private Group", 0x7053, 0x09): "DS",
    ("SIEMENS MR HEADER", 0x0019, 0x0A): "US",
    ("SIEMENS MR HEADER", 0x0019, 0x0C): "IS",
    ("SIEMENS MR HEADER", 0x0019, 0x0E): "FD",
    ("SIEMENS MR HEADER", 0x0019, 0x27): "FD",
    ("SIEMENS MR HEADER", 0x0019, 0x28): "FD",
    ("SIEMENS MR HEADER", 0x0019, 0x29): "FD",
}


def safe_vr(creator: str, group: int, element: int) -> str | None:
    """Return the VR of a private attribute that may stay, None for all others. ``element`` counts in its block."""
    return SAFE_PRIVATE.get((creator, group, element & 0xFF))
