"""The file at hand: who it is about, and what it says of itself."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from apps.dicom import charset
from apps.dicom.elements import NUMBER_FORMATS

from . import harvest
from .codec import Bytes, Item, Syntax
from .identity import Identity, fold
from .mapping import NO_SHIFT, Mapper, Shift, fingerprint
from .pixels import PixelCleaner
from .profile import Rules, table, vr_of
from .report import SOFTWARE, Did, Report
from .source import Source
from .tags import PATIENT_ID, PATIENT_NAME, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET

_MAX_CACHED_IDENTITIES: Final = 256


@lru_cache(maxsize=_MAX_CACHED_IDENTITIES)
def _identity_of(found: "harvest.Found") -> tuple[Identity, dict[tuple[object, ...], bytes | None]]:
    """Return the identity of what was harvested, and the memory of what was cleaned under it."""
    return harvest.identity_of(found), {}


class Subject:
    """The file at hand: who it is about, and what it says of itself."""

    def __init__(
        self, data: Bytes, source: Source, rules: Rules, mapper: Mapper, pixel_cleaner: PixelCleaner | None
    ) -> None:
        self.data = data if isinstance(data, bytes) else bytes(data)
        self.source = source
        self.rules = rules
        self.profile = rules.profile
        self.mapper = mapper
        self.pixel_cleaner = pixel_cleaner
        found = harvest.collect(source.elements, self.profile)
        self.identity, self.memory = _identity_of(found)
        self.patient = self._patient()
        self.shift: Shift = mapper.shift(self.patient) if self.profile.retain_longitudinal_modified_dates else NO_SHIFT
        self.report = Report(
            profile=self.profile.name,
            options=self.profile.options,
            edition=table().edition,
            software=SOFTWARE,
            key_fingerprint=fingerprint(mapper.key),
        )
        self.changes = self.report.changes
        self.transfer_syntax_uid = source.transfer_syntax_uid
        self.syntax = Syntax.of(source.transfer_syntax_uid)

    def _original_identity(self) -> Identity:
        """Return whom to look for at the end: nobody in a file that was done before, whose names are pseudonyms."""
        is_done = self.mapper.is_own_label("patient", self.patient)
        return Identity() if is_done else self.identity

    def text(self, tag: int) -> str:
        """Return the first value of a top-level attribute of the original, '' when absent."""
        element = self.source.index.get(tag)
        if element is None or not isinstance(element.value, (bytes, memoryview)):
            return ""
        encodings = self._encodings(self.source.elements, charset.DEFAULT_ENCODINGS)
        return charset.decode_text(bytes(element.value), encodings).split("\\")[0].strip(" \0")

    def integer(self, tag: int) -> int | None:
        """Return a top-level US, SS, UL or IS value of the original."""
        element = self.source.index.get(tag)
        if element is None or not isinstance(element.value, (bytes, memoryview)) or not len(element.value):
            return None
        raw = bytes(element.value)
        vr = element.vr if element.vr not in ("UN", "") else vr_of(tag)
        order = "<" if self.source.syntax.is_little else ">"
        try:
            if vr in ("IS", "DS"):
                return int(float(raw.decode("ascii", "replace").split("\\")[0].strip(" \0")))
            code = NUMBER_FORMATS.get(vr, "H")
            return int(struct.unpack_from(order + code, raw)[0])
        except (ValueError, OverflowError, struct.error):
            return None

    def _patient(self) -> str:
        """Return what names the patient: the record number, else name and birth date, else the study."""
        number = self.text(PATIENT_ID)
        if number:
            return number
        name = self.text(PATIENT_NAME)
        if self.mapper.is_own_label("patient", name):
            return name
        if name.strip("^= "):
            return f"{fold(name)} {self.text(0x00100030)}"
        return self.text(0x0020000D) or self.text(SOP_INSTANCE_UID)

    def _encodings(self, item: Item, inherited: Sequence[str]) -> Sequence[str]:
        for element in item:
            if element.tag == SPECIFIC_CHARACTER_SET and isinstance(element.value, (bytes, memoryview)):
                text = bytes(element.value).decode("ascii", "replace")
                return charset.encodings_from(text.split("\\"))
            if element.tag > SPECIFIC_CHARACTER_SET:
                break
        return inherited

    def _note(self, path: str, did: Did) -> None:
        self.changes[path, did.value] += 1
