"""Which attribute is treated how: the profile of PS3.15 Annex E as data, its options as switches, its presets.

The data is ``profile_2026d.tsv`` beside this module. ``rules_of`` turns it and a set of switches into one table
from tag to ``Action``, which is all that the engine asks.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from apps.dicom.elements import standard_vr

_DATA: Final = Path(__file__).with_name("profile_2026d.tsv")

TEXT_VRS: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
DATE_VRS: Final = frozenset({"DA", "DT", "TM"})


class Action(StrEnum):
    """What happens to an element: the letters of table E.1-1, choices resolved."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    MAP = "U"
    KEEP = "K"
    CLEAN = "C"


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
    """Only flagged: a head CT or MR can show a face, and nothing here defaces it. The report warns."""

    name: str = "custom"

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the switches that are on."""
        return tuple(one.name for one in fields(self) if one.name != "name" and getattr(self, one.name))


PRESETS: Final[dict[str, Profile]] = {
    # Intervals, sex, age and size matter; who, where and on which machine do not.
    "research": Profile(
        name="research",
        retain_patient_characteristics=True,
        retain_longitudinal_modified_dates=True,
        retain_safe_private=True,
        clean_recognizable_visual_features=True,
    ),
    # What a lecture shows: no dates at all, descriptions stay readable.
    "teaching": Profile(name="teaching", retain_patient_characteristics=True, clean_recognizable_visual_features=True),
    # A colleague judges the images: as much as possible of what bears on them, true intervals, the machine.
    "second-opinion": Profile(
        name="second-opinion",
        retain_patient_characteristics=True,
        retain_longitudinal_modified_dates=True,
        retain_device_identity=True,
        retain_safe_private=True,
    ),
    # The Basic Profile with no option that keeps anything: as little as possible remains.
    "minimal": Profile(
        name="minimal",
        clean_descriptors=False,
        clean_structured_content=False,
        clean_graphics=False,
        clean_recognizable_visual_features=True,
    ),
}


def preset(name: str) -> Profile:
    """Return a preset by name, blanks and underscores being as good as hyphens; ``KeyError`` when there is none."""
    return PRESETS["-".join(name.lower().replace("_", " ").replace("-", " ").split())]


_SWITCHES: Final = {
    "uids": "retain_uids",
    "device": "retain_device_identity",
    "institution": "retain_institution_identity",
    "chars": "retain_patient_characteristics",
    "fulldates": "retain_longitudinal_full_dates",
    "moddates": "retain_longitudinal_modified_dates",
    "desc": "clean_descriptors",
    "struct": "clean_structured_content",
    "graphics": "clean_graphics",
}
# Modified dates win over full ones, and any date option over the retention of a device.
_PRECEDENCE: Final = ("moddates", "fulldates", "uids", "chars", "desc", "device", "institution", "struct", "graphics")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the data file."""

    key: str
    vr: str
    basic: str
    options: tuple[tuple[str, str], ...]
    name: str

    @property
    def is_identity(self) -> bool:
        """Whether the basic profile does away with the value and no option calls it a mere description."""
        kinds = {name for name, _ in self.options}
        return self.basic not in ("K", "C", "U") and not kinds & {"desc", "chars", "uids", "struct", "graphics"}


@dataclass(frozen=True, slots=True)
class Table:
    """The data file, read."""

    edition: str
    attributes: dict[int, Row]
    groups: dict[int, Row]
    """Rows of repeating groups, by the upper byte of the group."""
    content: dict[tuple[str, str], Row]
    """Content items of structured reports, by coding scheme designator and code value."""
    by_vr: dict[str, Row]
    things: frozenset[int]
    """Attributes that name a thing rather than describe: manufacturer, model, version, kernel, coil."""
    times: dict[int, int]
    """From a date to the time beside it."""


@cache
def table() -> Table:
    """Read the data file."""
    made = Table("", {}, {}, {}, {}, frozenset(), {})
    edition, section = "", ""
    things = set()
    for line in _DATA.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("edition\t"):
            edition = line.split("\t")[1]
        elif not line or line.startswith("#"):
            continue
        elif section == "names of things":
            things.add(int(line[:8], 16))
        elif section == "dates and their times":
            made.times[int(line[:8], 16)] = int(line[9:17], 16)
        else:
            _add(made, section, line)
    return replace(made, edition=edition, things=frozenset(things))


def _add(made: Table, section: str, line: str) -> None:
    key, vr, basic, options, name = line.split("\t")
    pairs = tuple((part.split("=")[0], part.split("=")[1]) for part in options.split(",") if part)
    row = Row(key, vr, basic, pairs, name)
    if section == "default by VR":
        made.by_vr[key] = row
    elif section == "table E.3.4-1":
        scheme, code = key.rsplit(":", 1)
        made.content[scheme, code] = row
    elif key.endswith("xxxxxx"):
        made.groups[int(key[:2], 16)] = row
    else:
        made.attributes[int(key.rstrip("*"), 16)] = row


@lru_cache(maxsize=16384)
def vr_of(tag: int) -> str:
    """Return the VR of an attribute: the table's where it is younger than pydicom, else the dictionary's."""
    known = standard_vr(tag)
    if known == "UN":
        row = table().attributes.get(tag)
        if row is not None and row.vr:
            return row.vr
    return known


@dataclass(slots=True)
class Rules:
    """A profile resolved: from tag to action, filled as tags are met."""

    profile: Profile
    actions: dict[int, Action]

    def action(self, tag: int) -> Action:
        """Return what happens to a standard attribute. Private ones are not asked for here."""
        found = self.actions.get(tag)
        if found is None:
            found = self.actions[tag] = self._resolve(tag)
        return found

    def _resolve(self, tag: int) -> Action:
        data = table()
        row = data.attributes.get(tag) or (data.groups.get(tag >> 24) if tag >> 24 in data.groups else None)
        if tag & 0xFFFF == 0:
            return Action.REMOVE
        if row is None:
            vr = standard_vr(tag)
            row = data.by_vr.get(vr.split(" or ")[0], data.by_vr["UN"])
            if " or " in vr and tag >> 16 == 0x0028:
                # Descriptors and values of pixels: US or SS.
                row = data.by_vr["US"]
        return self.resolve(row)

    def resolve(self, row: Row) -> Action:
        """Return the action of a row under the switches of the profile."""
        options = dict(row.options)
        for name in _PRECEDENCE:
            if name in options and getattr(self.profile, _SWITCHES[name]):
                return self._option(row, name, options[name])
        last = row.basic.rstrip("*").split("/")[-1]
        return Action(last)

    @staticmethod
    def _option(row: Row, name: str, letter: str) -> Action:
        if name == "chars" and row.vr in (TEXT_VRS | {"SQ"}):
            # A characteristic in free text is kept word by word.
            return Action.CLEAN
        return Action(letter)


@lru_cache(maxsize=32)
def rules_of(profile: Profile) -> Rules:
    """Return the rules of a profile."""
    return Rules(profile, {})
