"""Data sets and items rewritten after the rules of the profile, at every depth, private ones and codes included."""

import itertools
from collections.abc import Sequence
from typing import Final

from . import values
from .cells import swapped
from .codec import Element, Fragments, Item, read_unknown_sequence
from .element_values import ElementValues
from .identity import fold
from .profile import TEXT_VRS, Action, table, vr_of
from .report import Did
from .safe_private import safe_vr
from .source import ascii_of
from .tags import EXTENDED_LENGTHS, EXTENDED_OFFSETS, PIXEL_TAGS
from .words import vocabulary

_CODE_VALUES: Final = frozenset({0x00080100, 0x00080119, 0x00080120})
_CODING_SCHEME: Final = 0x00080102
_CODING_SCHEME_VERSION: Final = 0x00080103
_VALUE_TYPE: Final = 0x0040A040
_CONCEPT_NAME: Final = 0x0040A043
_OWN: Final = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})


class Rewriting(ElementValues):
    """Goes through data sets and items, element by element."""

    def _item(self, item: Item, encodings: Sequence[str], path: str, *, is_strict: bool) -> Item:
        """Return a data set or item, rewritten."""
        out: Item = []
        scheme = self._scheme_of(item)
        concept = self._concept_rule(item)
        seen = -1
        if any(first.tag >= second.tag for first, second in itertools.pairwise(item)):
            ordered: dict[int, Element] = {}
            for element in item:
                ordered.setdefault(element.tag, element)
            item = [ordered[tag] for tag in sorted(ordered)]
        for element in item:
            tag = element.tag
            if tag == seen:
                continue
            seen = tag
            if tag >> 16 & 1:
                kept = self._private(element, item)
                if kept is not None:
                    out.append(kept)
                else:
                    self._note(f"{path}{tag >> 16:04X}xxxx", Did.REMOVED)
                continue
            if tag in _OWN:
                continue
            rewritten = self._element(
                element, item, encodings, path, is_strict=is_strict, scheme=scheme, concept=concept
            )
            if rewritten is not None:
                out.append(rewritten)
        return out

    def _private(self, element: Element, item: Item) -> Element | None:
        if not self.profile.retain_safe_private:
            return None
        tag = element.tag
        number = tag & 0xFFFF
        if 0x10 <= number <= 0xFF:
            # A creator stays if something of its block does.
            creator = ascii_of(element.value)
            block = number << 8
            for other in item:
                is_in_block = other.tag >> 16 == tag >> 16 and other.tag & 0xFF00 == block
                if is_in_block and self._safe_private_value(creator, other) is not None:
                    return Element(tag, "LO", creator.encode("ascii", "ignore"))
            return None
        if number < 0x1000:
            return None
        creator_tag = (tag & 0xFFFF0000) | (number >> 8)
        creator = next((ascii_of(other.value) for other in item if other.tag == creator_tag), "")
        return self._safe_private_value(creator, element)

    def _safe_private_value(self, creator: str, element: Element) -> Element | None:
        vr = safe_vr(creator, element.tag >> 16, element.tag & 0xFFFF)
        if vr is None or not isinstance(element.value, (bytes, memoryview)):
            return None
        if element.vr not in ("UN", vr):
            return None
        raw = bytes(element.value)
        if element.vr == "UN" and vr not in ("DS", "IS") and not self.syntax.is_little:
            return None
        if vr in ("DS", "IS"):
            text = raw.decode("ascii", "replace").strip(" \0")
            clean = values.clean_decimal if vr == "DS" else values.clean_integer
            if any(clean(part.strip(), self.identity) != part.strip() for part in text.split("\\") if part.strip()):
                return None
        elif self._number_is_identity(raw, vr):
            return None
        return Element(element.tag, vr, raw)

    def _scheme_of(self, item: Item) -> str | None:
        """Return the coding scheme designator if the item is a code, else None."""
        scheme = None
        is_code = False
        for element in item:
            if element.tag in _CODE_VALUES:
                is_code = True
            elif element.tag == _CODING_SCHEME:
                scheme = ascii_of(element.value)
            elif element.tag > 0x00080120:
                break
        return (scheme or "") if is_code else None

    def _concept_rule(self, item: Item) -> Action | None:
        """Return what table E.3.4-1 says of a content item, if it says anything."""
        value_type, code = "", None
        for element in item:
            if element.tag == _VALUE_TYPE:
                value_type = ascii_of(element.value)
            elif element.tag == _CONCEPT_NAME and isinstance(element.value, list) and element.value:
                inner = {
                    child.tag: ascii_of(child.value)
                    for child in element.value[0]
                    if child.tag in (0x00080100, 0x00080102)
                }
                code = (inner.get(0x00080102, ""), inner.get(0x00080100, ""))
        if code is None or value_type not in ("TEXT", "NUM", "CODE"):
            return None
        row = table().content.get(code)
        return None if row is None else self.rules.resolve(row)

    def _element(
        self,
        element: Element,
        item: Item,
        encodings: Sequence[str],
        path: str,
        *,
        is_strict: bool,
        scheme: str | None,
        concept: Action | None,
    ) -> Element | None:
        tag, vr, value = element.tag, element.vr, element.value
        action = self.rules.action(tag)
        if action is Action.REMOVE:
            self._note(f"{path}{tag:08X}", Did.REMOVED)
            return None
        known = vr_of(tag)
        if tag in PIXEL_TAGS or tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS):
            if path:
                self._note(f"{path}{tag:08X}", Did.REMOVED)
                return None
            return element
        if isinstance(value, Fragments):
            self._note(f"{path}{tag:08X}", Did.REMOVED)
            return None
        if known == "SQ" or isinstance(value, list):
            return self._sequence(element, action, encodings, path, is_strict=is_strict, is_known=known == "SQ")
        vr = self._true_vr(vr, known)
        if not len(value):
            return Element(tag, vr, b"")
        if scheme is not None and (tag in _CODE_VALUES or tag in (_CODING_SCHEME, _CODING_SCHEME_VERSION)):
            return self._code(element, vr, scheme, path, is_strict=is_strict)
        if concept in (Action.REMOVE, Action.DUMMY) and tag == 0x0040A160:
            action = Action.DUMMY
        if is_strict and action in (Action.CLEAN, Action.KEEP) and vr in TEXT_VRS:
            action = Action.DUMMY
        if vr in values.DUMMIES or vr == "UI":
            return self._text_element(element, vr, action, item=item, encodings=encodings, path=path)
        return self._binary_element(element, vr, action, path)

    @staticmethod
    def _true_vr(stated: str, known: str) -> str:
        """Return the VR to go by: the dictionary's, unless the file states one the dictionary allows."""
        if known == "UN":
            return stated
        if stated in (known, "UN"):
            return known
        if " or " in known:
            return stated if stated in known.split(" or ") else known
        return known

    def _sequence(
        self, element: Element, action: Action, encodings: Sequence[str], path: str, *, is_strict: bool, is_known: bool
    ) -> Element | None:
        tag, value = element.tag, element.value
        here = f"{path}{tag:08X}"
        if isinstance(value, (bytes, memoryview)):
            items = read_unknown_sequence(value) if len(value) else []
            if items is None:
                self._note(here, Did.REMOVED)
                return None
            if not self.source.syntax.is_little:
                items = [swapped(one) for one in items]
        elif isinstance(value, list):
            items = value
        else:
            return None
        if not is_known and tag >> 16 not in (0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0040) and vr_of(tag) == "UN":
            self._note(here, Did.REMOVED)
            return None
        if not is_known and vr_of(tag) != "UN":
            # A sequence where the dictionary has a plain value.
            self._note(here, Did.REMOVED)
            return None
        if action is Action.EMPTY:
            self._note(here, Did.EMPTIED)
            return Element(tag, "SQ", [])
        strict = is_strict or action is Action.DUMMY
        made = [self._item(child, self._encodings(child, encodings), here + "/", is_strict=strict) for child in items]
        return Element(tag, "SQ", made)

    def _code(self, element: Element, vr: str, scheme: str, path: str, *, is_strict: bool) -> Element | None:
        """Codes of public schemes stay; what a house made up is replaced by a code that is the same each time."""
        tag = element.tag
        raw = bytes(element.value)  # type: ignore[arg-type]
        text = raw.decode("ascii", "replace").strip(" \0")
        here = f"{path}{tag:08X}"
        if values.is_standard_scheme(scheme):
            if tag == _CODING_SCHEME:
                return Element(tag, vr, scheme.encode())
            if values.code_value_is_safe(text, self.identity):
                return Element(tag, vr, text.encode())
            self._note(here, Did.REPLACED)
            return Element(tag, vr, values.REMOVED.encode())
        if tag == _CODING_SCHEME_VERSION:
            self._note(here, Did.REMOVED)
            return None
        if tag == _CODING_SCHEME:
            words = scheme.removeprefix("99")
            is_plain = (
                words.isascii()
                and (fold(words) in vocabulary()[0] or len(words) <= 3)
                and not self.identity.has_word(fold(words))
            )
            is_own = scheme == "99REMOVED"
            if (is_plain and not is_strict) or is_own:
                return Element(tag, vr, scheme.encode())
            self._note(here, Did.REPLACED)
            return Element(tag, vr, b"99REMOVED")
        self._note(here, Did.REPLACED)
        return Element(tag, vr, self.mapper.label("code", text).encode())
