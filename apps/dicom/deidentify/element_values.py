"""What stands in an element afterwards: texts cleaned, mapped, shifted; binary values kept, blanked or replaced."""

import re
import struct
from collections.abc import Sequence
from typing import Final

from apps.dicom import charset
from apps.dicom.elements import NUMBER_FORMATS, SINGLE_VALUE_TEXT_VRS

from . import harvest, values
from .cells import cell_bytes, has_room, swap_cells
from .codec import Bytes, Element, Item
from .codestreams import clean_icc
from .mapping import NO_SHIFT
from .profile import DATE_VRS, Action, table, vr_of
from .report import Did
from .source import ascii_of
from .subject import Subject
from .tags import PATIENT_ID, PATIENT_NAME, SPECIFIC_CHARACTER_SET

_ACCESSION_NUMBER: Final = 0x00080050
_ICC_PROFILE: Final = 0x00282000
_DEFINED_CHARACTER_SETS: Final = re.compile(
    r"(ISO[ _-]IR[ _-]\d{1,3}|ISO[ _-]2022[ _]IR[ _-]\d{1,3}|GB18030|GBK|GB2312|)", re.IGNORECASE
)
_PRINTABLE: Final = re.compile(rb"[\t\n\f\r -~]*")


class ElementValues(Subject):
    """What stands in an element afterwards, text or binary."""

    def _text_element(
        self, element: Element, vr: str, action: Action, *, item: Item, encodings: Sequence[str], path: str
    ) -> Element | None:
        tag = element.tag
        raw = bytes(element.value)  # type: ignore[arg-type]
        time = self._time_beside(tag, item) if vr == "DA" else b""
        place = (tag, vr, raw, action, tuple(encodings), time)
        known = self.memory.get((*place, self.profile, id(self.mapper), self.shift))
        if known is None:
            made = self._text(tag, vr, raw, action, encodings=encodings, time=time)
            if len(self.memory) > 20_000:
                self.memory.clear()
            known = self.memory[(*place, self.profile, id(self.mapper), self.shift)] = made
        if known != raw.rstrip(b" \0"):
            self._note(f"{path}{tag:08X}", self._did(vr, action, known))
        if known == b"" and action is Action.CLEAN and self._may_go(tag):
            return None
        return Element(tag, vr, known)

    def _may_go(self, tag: int) -> bool:
        """Say whether the basic profile removes the attribute, so that nothing need stand for a text that went."""
        row = table().attributes.get(tag)
        return row is not None and row.basic == "X"

    @staticmethod
    def _did(vr: str, action: Action, made: bytes) -> Did:
        if not made:
            return Did.EMPTIED
        if vr == "AS":
            return Did.CAPPED
        if action is Action.MAP:
            return Did.MAPPED
        if action is Action.CLEAN:
            return Did.SHIFTED if vr in DATE_VRS else Did.CLEANED
        return Did.REPLACED if action is not Action.KEEP else Did.CLEANED

    @staticmethod
    def _time_beside(tag: int, item: Item) -> bytes:
        partner = table().times.get(tag)
        if partner is None:
            return b""
        for element in item:
            if element.tag == partner and isinstance(element.value, (bytes, memoryview)):
                return bytes(element.value)
        return b""

    def _text(self, tag: int, vr: str, raw: bytes, action: Action, *, encodings: Sequence[str], time: bytes) -> bytes:
        """Return the new bytes of a text element; unpadded."""
        if tag == SPECIFIC_CHARACTER_SET:
            text = raw.decode("ascii", "replace")
            is_defined = all(_DEFINED_CHARACTER_SETS.fullmatch(part.strip(" \0")) for part in text.split("\\"))
            return raw.rstrip(b" \0") if is_defined else b""
        if tag in (PATIENT_NAME, PATIENT_ID) and action is not Action.REMOVE:
            return self.mapper.label("patient", self.patient).encode()
        if tag == _ACCESSION_NUMBER:
            return self.mapper.label("accession", ascii_of(raw)).encode() if ascii_of(raw) else b""
        if action is Action.EMPTY:
            return b""
        if action is Action.DUMMY and vr == "UI":
            action = Action.MAP
        if action is Action.DUMMY:
            return values.DUMMIES.get(vr, "").encode() if ascii_of(raw) else b""
        text = charset.decode_text(raw, encodings, is_person_name=vr == "PN")
        if vr in SINGLE_VALUE_TEXT_VRS:
            parts = [text.rstrip(" \0")]
        else:
            parts = [part.strip(" \0") for part in text.split("\\")]
        made = [self._value(tag, vr, part, action, time) if part else "" for part in parts]
        joined = "\\".join(made)
        if joined.strip("\\ ") == "":
            if not any(parts):
                return b""
            return self._nothing_left(tag, vr, action)
        if joined == text.strip(" \0") and _PRINTABLE.fullmatch(raw.strip(b" \0")):
            return raw.rstrip(b" \0")
        return self._encode(joined, encodings)

    def _nothing_left(self, tag: int, vr: str, action: Action) -> bytes:
        """Return what stands for a text of which nothing could stay: as little as keeps the object valid."""
        row = table().attributes.get(tag)
        if vr in ("DS", "IS") or (row is not None and row.basic in ("Z", "X")):
            return b""
        return values.DUMMIES.get(vr, "").encode()

    def _value(self, tag: int, vr: str, text: str, action: Action, time: bytes) -> str:
        identity = self.identity
        if vr == "UI":
            if action is Action.MAP or action is not Action.KEEP:
                return self.mapper.uid(text)
            return values.keep_class_uid(text, identity, self.mapper)
        if vr in DATE_VRS:
            shift = self.shift if action is Action.CLEAN else NO_SHIFT
            if vr == "DA":
                return values.shift_date(text, time.decode("ascii", "replace").strip(" \0"), shift)
            return values.shift_time(text, shift) if vr == "TM" else values.shift_datetime(text, shift)
        if vr == "AS":
            return values.clean_age(text)
        if vr == "IS":
            return values.clean_integer(text, identity)
        if vr == "DS":
            return values.clean_decimal(text, identity)
        if vr == "CS":
            return values.clean_term(text, identity) or values.REMOVED
        if vr in ("PN", "UR"):
            return ""
        if action is Action.KEEP:
            return values.keep_text(text, identity)
        return values.clean_words(tag, text, identity)

    @staticmethod
    def _encode(text: str, encodings: Sequence[str]) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        try:
            return text.encode(encodings[0])
        except (UnicodeEncodeError, LookupError):
            return text.encode("ascii", "ignore")

    def _binary_element(self, element: Element, vr: str, action: Action, path: str) -> Element | None:
        tag = element.tag
        value: Bytes = element.value  # type: ignore[assignment]
        here = f"{path}{tag:08X}"
        if tag == _ICC_PROFILE:
            cleaned = clean_icc(bytes(value))
            if cleaned is None:
                self._note(here, Did.REMOVED)
                return None
            if cleaned != bytes(value):
                self._note(here, Did.BLANKED)
            return Element(tag, "OB", cleaned)
        if action is Action.EMPTY:
            self._note(here, Did.EMPTIED)
            return Element(tag, vr, b"")
        if action in (Action.DUMMY, Action.MAP, Action.CLEAN):
            self._note(here, Did.REPLACED)
            return Element(tag, vr, b"\0" * max(2, cell_bytes(vr)))
        if not has_room(tag, vr, len(value)):
            # More bytes than the attribute can have values: something else is in there.
            self._note(here, Did.REMOVED)
            return None
        if vr == "AT" and not self._are_tags(bytes(value)):
            self._note(here, Did.REMOVED)
            return None
        if self._number_is_identity(value, vr):
            self._note(here, Did.REPLACED)
            return Element(tag, vr, bytes(len(value)))
        blanked = harvest.blank_names(value, self.identity) if len(value) >= 6 else None
        if blanked is not None:
            self._note(here, Did.BLANKED)
            return Element(tag, vr, blanked)
        if element.vr == "UN" and not self.source.syntax.is_little and cell_bytes(vr) > 1:
            return Element(tag, vr, swap_cells(bytes(value), cell_bytes(vr)))
        return Element(tag, vr, value)

    def _are_tags(self, value: bytes) -> bool:
        """Say whether the values of an AT element are tags that exist, or private ones."""
        order = "<" if self.source.syntax.is_little else ">"
        parts = struct.unpack(f"{order}{len(value) // 2}H", value[: len(value) // 2 * 2])
        pairs = zip(parts[::2], parts[1::2], strict=False)
        return all(group & 1 or vr_of(group << 16 | element) != "UN" for group, element in pairs)

    def _number_is_identity(self, value: Bytes, vr: str) -> bool:
        """Say whether a binary number is somebody's record number or date."""
        code = NUMBER_FORMATS.get(vr)
        if code is None or len(value) != struct.calcsize(code) or len(value) < 4:
            return False
        (number,) = struct.unpack(("<" if self.source.syntax.is_little else ">") + code, value)
        if abs(number) < 10_000 or abs(number) > 1e18 or number != int(number):
            return False
        digits = str(abs(int(number)))
        return digits in self.identity.numbers or digits in self.identity.dates
