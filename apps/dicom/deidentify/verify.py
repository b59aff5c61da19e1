"""Look in finished files for what the originals say about patients and staff.

This shares as little as it can with the engine: finished files are read by pydicom, value by value, and once more as
bare bytes. Nothing found is ever quoted, only where it was and what kind of thing it is.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from apps.dicom.errors import DicomError

from . import harvest
from .batch import PARTIAL, files_below
from .codec import Item, walk
from .identity import Identity, fold
from .profile import Action, Profile, rules_of, vr_of
from .source import read_source
from .words import defined_terms, is_known

_ALNUM: Final = re.compile(r"[^\W_]+")
_BYTES: Final = re.compile(rb"(?:[A-Za-z0-9\x80-\xff]\x00?){5,64}")
_MIN_NAME: Final = 3
_MIN_PART: Final = 5
_MIN_NUMBER: Final = 5
_MIN_BARE_NUMBER: Final = 7
"""Digits among bare bytes may be part of any decimal number; shorter ones say nothing."""
_OWN_TEXT: Final = frozenset({0x00120063, 0x00120064})


@dataclass(frozen=True, slots=True)
class Residue:
    """Something of an original that was found again."""

    output: str
    """The file, below the folder that was searched."""
    element: str
    """Path of tags, or ``bytes`` or ``path``."""
    kind: str
    """``name``, ``number``, ``date`` or ``uid``."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"output": self.output, "element": self.element, "kind": self.kind}


@dataclass(slots=True)
class Known:
    """What all originals say."""

    names: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    parts: tuple[str, ...] = ()

    def add(self, identity: Identity, uids: set[str]) -> None:
        """Add one file."""
        self.names |= {name for name in identity.names if len(name) >= _MIN_NAME and not _is_word(name)}
        self.numbers |= {number for number in identity.numbers if len(number) >= _MIN_NUMBER}
        self.dates |= identity.dates
        self.uids |= uids

    def join(self, other: "Known") -> None:
        """Add what another one knows."""
        self.names |= other.names
        self.numbers |= other.numbers
        self.dates |= other.dates
        self.uids |= other.uids

    def as_dict(self) -> dict[str, list[str]]:
        """Return it for JSON."""
        return {"names": [*self.names], "numbers": [*self.numbers], "dates": [*self.dates], "uids": [*self.uids]}

    @classmethod
    def from_dict(cls, told: dict[str, list[str]]) -> "Known":
        """Return what `as_dict` told; raises TypeError or KeyError for anything else."""
        names, numbers, dates, uids = (set(map(str, told[name])) for name in ("names", "numbers", "dates", "uids"))
        return cls(names, numbers, dates, uids)

    def close(self) -> None:
        """Prepare the search."""
        long = {name for name in self.names if len(name) >= _MIN_PART} | {n for n in self.numbers if len(n) >= 6}
        self.parts = tuple(sorted(long))

    def kind_of(self, text: str) -> str | None:
        """Say what kind of known thing a text holds, or None."""
        for token in _ALNUM.findall(text):
            folded = fold(token)
            if folded in self.names:
                return "name"
            if folded in self.numbers:
                return "number"
            if folded in self.dates:
                return "date"
        # Names may be written as one, or in pieces; known words between them are what they say.
        squeezed = "".join("|" if is_known(token) else token for token in _ALNUM.findall(fold(text)))
        if len(squeezed) >= _MIN_PART:
            for part in self.parts:
                if part in squeezed:
                    return "number" if part[-1].isdigit() else "name"
        return None


def _is_word(name: str) -> bool:
    """Say whether a name is a word as well, which stands in many files for what it means."""
    return name in defined_terms() or is_known(name)


def known_of(source: Path, profile: Profile) -> Known:
    """Harvest every original; what is no DICOM file says nothing."""
    places = [source] if source.is_file() else [source / path for path in files_below(source)]
    return known_of_files((place.read_bytes() for place in places), profile)


def known_of_files(originals: Iterable[bytes], profile: Profile) -> Known:
    """Harvest originals that are in memory, as `known_of` does those of a folder."""
    known = Known()
    for data in originals:
        try:
            read = read_source(data)
        except (DicomError, OSError, ValueError):
            continue
        found = harvest.collect(read.elements, profile)
        known.add(harvest.identity_of(found), set() if profile.retain_uids else _uids(read.elements, profile))
    known.close()
    return known


def _uids(elements: Item, profile: Profile) -> set[str]:
    """Return the UIDs that are mapped, and so must not come out: those of objects, not of classes."""
    found: set[str] = set()
    rules = rules_of(profile)
    for element, _, _ in walk(elements):
        is_uid = element.vr == "UI" or vr_of(element.tag) == "UI"
        if is_uid and isinstance(element.value, bytes) and rules.action(element.tag) is Action.MAP:
            for part in element.value.decode("ascii", "replace").split("\\"):
                uid = part.strip(" \0")
                if uid.count(".") >= 4 and len(uid) > 12 and uid not in UID_dictionary:
                    found.add(uid)
    return {uid for uid in found if not uid.startswith("1.2.840.10008.")}


def scan(source: Path, target: Path, profile: Profile) -> Iterator[Residue]:
    """Search every file below ``target`` for what the files below ``source`` say."""
    known = known_of(source, profile)
    for path in files_below(target):
        if PARTIAL in path.parts:
            continue
        kind = known.kind_of(re.sub(r"\.(dcm|dicom|ima|img)$", "", str(path), flags=re.IGNORECASE))
        if kind is not None:
            yield Residue(str(path), "path", kind)
        yield from scan_file((target / path).read_bytes(), str(path), known)


def scan_file(data: bytes, name: str, known: Known) -> Iterator[Residue]:
    """Search one finished file."""
    try:
        dataset = dcmread(io.BytesIO(data), force=False)
    except (InvalidDicomError, OSError, ValueError, EOFError):
        yield Residue(name, "bytes", "unreadable")
        return
    for part in (dataset.file_meta, dataset):
        yield from _scan_dataset(part, name, known, "")
    kinds = {kind for kind in (_kind_of_bytes(match.group(), known) for match in _BYTES.finditer(_head(data))) if kind}
    for kind in sorted(kinds):
        yield Residue(name, "bytes", kind)


def _head(data: bytes) -> bytes:
    """Return the file with the UIDs taken out, whose digits are random and may hold any number."""
    return re.sub(rb"(?<![0-9.])[0-2](?:\.[0-9]+){2,}", b" ", data)


def _kind_of_bytes(run: bytes, known: Known) -> str | None:
    for text in (run.replace(b"\0", b"").decode("utf-8", "ignore"), run.replace(b"\0", b"").decode("iso8859")):
        folded = fold(text)
        if folded in known.names and len(folded) >= _MIN_PART:
            return "name"
        if folded in known.numbers and len(folded) >= (_MIN_BARE_NUMBER if folded.isdecimal() else _MIN_PART):
            return "number"
    return None


def _scan_dataset(dataset: Dataset, name: str, known: Known, path: str) -> Iterator[Residue]:
    for element in dataset:
        tag = int(element.tag)
        here = f"{path}{tag:08X}"
        if tag in _OWN_TEXT or element.value is None:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _scan_dataset(item, name, known, here + "/")
            continue
        if isinstance(element.value, bytes):
            continue
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
        for value in values:
            kind = _kind_of_value(element.VR, value, known)
            if kind is not None:
                yield Residue(name, here, kind)
                break


def _kind_of_value(vr: str, value: str, known: Known) -> str | None:
    if vr == "UI":
        return "uid" if value in known.uids else None
    if vr in ("DA", "DT", "TM"):
        # A date that was moved may, by chance, be another one of the originals.
        return None
    if vr in ("CS", "DS", "FD", "FL"):
        return "name" if fold(value) in known.names else None
    if vr in ("US", "SS", "UL", "SL", "IS", "UV", "SV", "AT"):
        return "number" if value in known.numbers else None
    return known.kind_of(value)
