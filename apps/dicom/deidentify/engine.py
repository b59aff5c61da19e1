"""One Part 10 file in, the same file without identity out.

The order: read, refuse what only a person can judge, harvest who the patient and the staff are, rewrite element by
element after the rules of the profile, clean the pixels' surroundings, say what was done, write, look once more.
"""

import io
import itertools
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_VM

from apps.dicom import charset
from apps.dicom.elements import NUMBER_FORMATS, SINGLE_VALUE_TEXT_VRS
from apps.dicom.errors import Code, IgnoredError, RejectedError
from apps.dicom.frames import PixelFormat
from apps.dicom.parse import inflate
from apps.dicom.uid import IMPLEMENTATION_CLASS_UID, is_valid_uid

from . import harvest, pixeldata, values
from .codec import (
    EXPLICIT,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VRS,
    Bytes,
    Element,
    Fragments,
    Item,
    Syntax,
    read_elements,
    read_unknown_sequence,
    write_elements,
)
from .codestreams import clean_icc
from .errors import NeedsReviewError, Reason
from .identity import Identity, fold
from .mapping import NO_SHIFT, Mapper, Shift, fingerprint
from .methods import method_codes, method_elements
from .pixels import CleanedPixels, PixelCleaner, PixelJob
from .profile import DATE_VRS, TEXT_VRS, Action, Profile, Rules, rules_of, table, vr_of
from .report import Did, Report
from .residue import count_residue
from .safe_private import safe_vr
from .words import vocabulary

SOFTWARE: Final = "Viewbox 1"
_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_SPOKEN: Final = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_ACCESSION_NUMBER: Final = 0x00080050
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_BURNED_IN_ANNOTATION: Final = 0x00280301
_RECOGNIZABLE_VISUAL_FEATURES: Final = 0x00280302
_CODE_VALUES: Final = frozenset({0x00080100, 0x00080119, 0x00080120})
_CODING_SCHEME: Final = 0x00080102
_CODING_SCHEME_VERSION: Final = 0x00080103
_VALUE_TYPE: Final = 0x0040A040
_CONCEPT_NAME: Final = 0x0040A043
_ICC_PROFILE: Final = 0x00282000
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002
_PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# Written by this program; what the original says of an earlier de-identification goes.
_OWN: Final = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})
_DEFINED_CHARACTER_SETS: Final = re.compile(
    r"(ISO[ _-]IR[ _-]\d{1,3}|ISO[ _-]2022[ _]IR[ _-]\d{1,3}|GB18030|GBK|GB2312|)", re.IGNORECASE
)
_PRINTABLE: Final = re.compile(rb"[\t\n\f\r -~]*")
_HEAD_WORDS: Final = frozenset({"HEAD", "SKULL", "BRAIN", "FACE", "NEURO", "KOPF", "SCHAEDEL"})
_MAX_CACHED_IDENTITIES: Final = 256


@dataclass(frozen=True, slots=True)
class Result:
    """A de-identified Part 10 file in pieces (the pixels are not copied), and the report of what was done."""

    parts: tuple[Bytes, ...]
    report: Report
    identity: Identity = field(repr=False)
    """What was known of the patient and the staff: for checking names of files. Never store it."""

    @property
    def data(self) -> bytes:
        """The file."""
        return b"".join(self.parts)

    def write_to(self, file: BinaryIO) -> int:
        """Write the file, return its length."""
        return sum(file.write(part) for part in self.parts)


def deidentify(
    file: BinaryIO | Bytes,
    profile: Profile,
    key: bytes | Mapper,
    *,
    pixel_cleaner: PixelCleaner | None = None,
) -> Result:
    """De-identify one Part 10 file.

    ``key`` is the secret of the clinic or project, or a ``Mapper`` made of one, which remembers what it mapped and is
    faster for many files. Raises ``NeedsReviewError`` (``needs-review``) where a person has to look, ``RejectedError``
    for what is no DICOM file or a damaged one, ``IgnoredError`` for a DICOMDIR.
    """
    data = file if isinstance(file, (bytes, memoryview)) else _content(file)
    mapper = key if isinstance(key, Mapper) else Mapper(key)
    try:
        source = read_source(data)
        return _Run(data, source, rules_of(profile), mapper, pixel_cleaner).result()
    except struct.error as error:
        raise RejectedError(Code.TRUNCATED) from error
    except RecursionError as error:
        raise RejectedError(Code.TOO_DEEP) from error
    except (ValueError, IndexError, OverflowError, zlib.error) as error:
        # Not a hole but the wall: a damaged file may hold anything.
        raise RejectedError(Code.MALFORMED) from error


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@dataclass(slots=True)
class Source:
    """A file that was read."""

    data: Bytes
    transfer_syntax_uid: str
    syntax: Syntax
    elements: Item
    index: dict[int, Element]


def read_source(data: Bytes) -> Source:
    """Read a Part 10 file, or a bare data set. Raises ``RejectedError`` or ``IgnoredError``."""
    transfer_syntax_uid, at = _transfer_syntax_of(data)
    body = data
    if transfer_syntax_uid in _DEFLATED:
        body, at = inflate(io.BytesIO(data), at, len(data)), 0
    syntax = Syntax.of(transfer_syntax_uid)
    # Some writers say explicit and write implicit, or the other way round: the first element tells.
    if len(body) >= at + 8:
        syntax = Syntax(bytes(body[at + 4 : at + 6]) in VRS, syntax.is_little)
    elements, _ = read_elements(body, syntax, at)
    index: dict[int, Element] = {}
    for element in elements:
        index.setdefault(element.tag, element)
    if 0x00041220 in index:
        raise IgnoredError(Code.DICOMDIR)
    if not index:
        raise RejectedError(Code.NOT_DICOM)
    return Source(body, transfer_syntax_uid, syntax, elements, index)


def _transfer_syntax_of(data: Bytes) -> tuple[str, int]:
    """Return the transfer syntax, told or guessed, and where the data set starts."""
    at = 132 if len(data) >= 132 and bytes(data[128:132]) == b"DICM" else 0
    if not _looks_like_dicom(data, at):
        raise RejectedError(Code.NOT_DICOM)
    transfer_syntax_uid = ""
    if bytes(data[at : at + 2]) == b"\x02\x00":
        meta_syntax = EXPLICIT if bytes(data[at + 4 : at + 6]) in VRS else IMPLICIT
        meta, at = _read_meta(data, at, meta_syntax)
        told = {element.tag: _ascii(element.value) for element in meta}
        if told.get(0x00020002) == _MEDIA_STORAGE_DIRECTORY:
            raise IgnoredError(Code.DICOMDIR)
        transfer_syntax_uid = told.get(0x00020010, "")
    if transfer_syntax_uid and not is_valid_uid(transfer_syntax_uid):
        raise RejectedError(Code.NO_TRANSFER_SYNTAX)
    if not transfer_syntax_uid:
        is_explicit = bytes(data[at + 4 : at + 6]) in VRS
        transfer_syntax_uid = EXPLICIT_VR_LITTLE_ENDIAN if is_explicit else IMPLICIT_VR_LITTLE_ENDIAN
    return transfer_syntax_uid, at


def _looks_like_dicom(data: Bytes, at: int) -> bool:
    if len(data) < at + 8:
        return False
    group, element = struct.unpack_from("<HH", data, at)
    if at == 0:
        # Without a preamble: an early element of group 2 or 8 whose length makes sense.
        if group not in (0x0002, 0x0008) or element > 0x0018:
            return False
        vr, short = struct.unpack_from("<2sH", data, 4)
        return bool((short if vr in VRS else struct.unpack_from("<I", data, 4)[0]) <= 64)
    return True


def _read_meta(data: Bytes, at: int, syntax: Syntax) -> tuple[Item, int]:
    """Read group 2; return it and where the data set starts."""
    found: Item = []
    while len(data) >= at + 8 and bytes(data[at : at + 2]) == b"\x02\x00":
        vr = bytes(data[at + 4 : at + 6])
        if not syntax.is_explicit:
            (length,) = struct.unpack_from("<I", data, at + 4)
            head = 8
        elif vr in (b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR"):
            (length,) = struct.unpack_from("<I", data, at + 8)
            head = 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            head = 8
        (element,) = struct.unpack_from("<H", data, at + 2)
        if at + head + length > len(data):
            raise RejectedError(Code.TRUNCATED)
        found.append(Element(0x00020000 | element, "", bytes(data[at + head : at + head + length])))
        at += head + length
    return found, at


def _ascii(value: object) -> str:
    return bytes(value).decode("ascii", "replace").strip(" \0") if isinstance(value, (bytes, memoryview)) else ""


@lru_cache(maxsize=_MAX_CACHED_IDENTITIES)
def _identity_of(found: "harvest.Found") -> tuple[Identity, dict[tuple[object, ...], bytes | None]]:
    """Return the identity of what was harvested, and the memory of what was cleaned under it."""
    return harvest.identity_of(found), {}


class _Run:
    """De-identifies one file."""

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

    def result(self) -> Result:
        self._refuse()
        pixels = self._cleaned_pixels()
        encodings = self._encodings(self.source.elements, charset.DEFAULT_ENCODINGS)
        out = self._item(self.source.elements, encodings, "", is_strict=False)
        out = self._with_pixels(out, pixels)
        self.report.residue = count_residue(out, self._original_identity())
        if self.report.residue:
            raise NeedsReviewError(Reason.RESIDUE)
        out = self._with_methods(out)
        self._fill_report(out)
        parts = self._file(out)
        return Result(tuple(parts), self.report, self.identity)

    def _original_identity(self) -> Identity:
        """Return whom to look for at the end: nobody in a file that was done before, whose names are pseudonyms."""
        is_done = self.mapper.is_own_label("patient", self.patient)
        return Identity() if is_done else self.identity

    # What the file says of itself

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
        number = self.text(_PATIENT_ID)
        if number:
            return number
        name = self.text(_PATIENT_NAME)
        if self.mapper.is_own_label("patient", name):
            return name
        if name.strip("^= "):
            return f"{fold(name)} {self.text(0x00100030)}"
        return self.text(0x0020000D) or self.text(_SOP_INSTANCE_UID)

    def _encodings(self, item: Item, inherited: Sequence[str]) -> Sequence[str]:
        for element in item:
            if element.tag == _SPECIFIC_CHARACTER_SET and isinstance(element.value, (bytes, memoryview)):
                text = bytes(element.value).decode("ascii", "replace")
                return charset.encodings_from(text.split("\\"))
            if element.tag > _SPECIFIC_CHARACTER_SET:
                break
        return inherited

    # What is refused

    def _refuse(self) -> None:
        index = self.source.index
        if self.text(_SOP_CLASS_UID) in _SPOKEN:
            raise NeedsReviewError(Reason.SPOKEN)
        if _ENCAPSULATED_DOCUMENT in index or harvest.holds(self.source.elements, _ENCAPSULATED_DOCUMENT):
            raise NeedsReviewError(Reason.ENCAPSULATED_DOCUMENT)

    # Pixels

    def _cleaned_pixels(self) -> CleanedPixels | None:
        if not any(tag in self.source.index for tag in _PIXEL_TAGS):
            return None
        self.report.pixels = "unchanged"
        if not self.profile.clean_pixel_data:
            return None
        image_type = self.source.index.get(0x00080008)
        if not pixeldata.may_show_text(
            sop_class_uid=self.text(_SOP_CLASS_UID),
            image_type=_ascii(image_type.value) if image_type is not None else "",
            burned_in_annotation=self.text(_BURNED_IN_ANNOTATION),
            samples_per_pixel=self.integer(0x00280002) or 1,
            bits_allocated=self.integer(0x00280100) or 16,
        ):
            self.report.pixels = "exempt"
            return None
        if self.pixel_cleaner is None:
            is_declared = self.text(_BURNED_IN_ANNOTATION).upper() == "YES"
            raise NeedsReviewError(Reason.BURNED_IN_DECLARED if is_declared else Reason.PIXELS_UNCHECKED)
        job = PixelJob(
            data=self.data,
            transfer_syntax_uid=self.source.transfer_syntax_uid,
            words=tuple(sorted(self.identity.spoken)),
            text=self.text,
        )
        cleaned = self.pixel_cleaner(job)
        self.report.pixels = "checked" if cleaned is None else "cleaned"
        self.report.pixel_regions = 0 if cleaned is None else cleaned.regions
        return cleaned

    def _layout(self) -> pixeldata.Layout:
        allocated = self.integer(0x00280100) or 0
        stored = self.integer(0x00280101) or allocated
        high = self.integer(0x00280102)
        return pixeldata.Layout(
            format=PixelFormat(
                rows=self.integer(0x00280010) or 0,
                columns=self.integer(0x00280011) or 0,
                samples_per_pixel=self.integer(0x00280002) or 1,
                bits_allocated=allocated,
                bits_stored=stored,
                pixel_representation=self.integer(0x00280103) or 0,
                photometric_interpretation=self.text(0x00280004).upper(),
            ),
            number_of_frames=max(1, self.integer(0x00280008) or 1),
            high_bit=stored - 1 if high is None else high,
            padding_value=self.integer(0x00280120),
            is_little=self.source.syntax.is_little,
        )

    def _with_pixels(self, out: Item, cleaned: CleanedPixels | None) -> Item:
        if cleaned is not None:
            return self._replace_pixels(out, cleaned)
        made: Item = []
        for element in out:
            if element.tag not in _PIXEL_TAGS:
                made.append(element)
                continue
            if element.tag != 0x7FE00010:
                made.append(element)
            elif isinstance(element.value, Fragments):
                fragments, places = pixeldata.clean_encapsulated(
                    element.value, self.source.transfer_syntax_uid, self._layout()
                )
                self.report.codestream_places = places
                if places:
                    self._note("7FE00010", Did.BLANKED)
                made.append(Element(element.tag, "OB", fragments))
            elif isinstance(element.value, (bytes, memoryview)):
                parts, is_masked = pixeldata.clean_native(element.value, self._layout())
                if len(parts[0]) < len(element.value) - 1:
                    self._note("7FE00010", Did.CLEANED)
                self.report.high_bits_masked = is_masked
                if is_masked:
                    self._note("7FE00010", Did.BLANKED)
                made.append(Element(element.tag, self._pixel_vr(element), parts[0]))
        return self._checked_offsets(made)

    def _pixel_vr(self, element: Element) -> str:
        if element.vr in ("OB", "OW"):
            return element.vr
        return "OB" if (self.integer(0x00280100) or 16) <= 8 and self.source.syntax.is_explicit else "OW"

    @staticmethod
    def _checked_offsets(out: Item) -> Item:
        """Keep an extended offset table only if it is the true one."""
        index = {element.tag: element for element in out}
        pixels = index.get(0x7FE00010)
        if _EXTENDED_OFFSETS not in index and _EXTENDED_LENGTHS not in index:
            return out
        if pixels is not None and isinstance(pixels.value, Fragments):
            true = pixeldata.extended_offsets(pixels.value)
            stated = tuple(
                bytes(index[tag].value) if tag in index else b""  # type: ignore[arg-type]
                for tag in (_EXTENDED_OFFSETS, _EXTENDED_LENGTHS)
            )
            if stated == true:
                return out
        return [element for element in out if element.tag not in (_EXTENDED_OFFSETS, _EXTENDED_LENGTHS)]

    def _replace_pixels(self, out: Item, cleaned: CleanedPixels) -> Item:
        gone = {0x7FE00010, 0x7FE00008, 0x7FE00009, _EXTENDED_OFFSETS, _EXTENDED_LENGTHS, *cleaned.attributes}
        made = [element for element in out if element.tag not in gone]
        target = Syntax.of(cleaned.transfer_syntax_uid)
        if target.is_little != self.syntax.is_little:
            made = swapped(made)
        for tag, text in cleaned.attributes.items():
            if text is not None:
                made.append(Element(tag, vr_of(tag).split(" or ")[0], self._attribute(tag, text, target)))
        is_native = cleaned.transfer_syntax_uid in (
            IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
        )  # fmt: skip
        if is_native:
            vr = "OB" if (self.integer(0x00280100) or 16) <= 8 and target.is_explicit else "OW"
            made.append(Element(0x7FE00010, vr, b"".join(cleaned.frames)))
        else:
            fragments = pixeldata.fragments_of(cleaned.frames)
            made.append(Element(0x7FE00010, "OB", fragments))
        self.transfer_syntax_uid = cleaned.transfer_syntax_uid
        self.syntax = target
        self._note("7FE00010", Did.CLEANED)
        return sorted(made, key=lambda element: element.tag)

    @staticmethod
    def _attribute(tag: int, text: str, target: Syntax) -> bytes:
        vr = vr_of(tag).split(" or ")[0]
        if vr in NUMBER_FORMATS:
            order = "<" if target.is_little else ">"
            number = float(text) if vr in ("FD", "FL") else int(text)
            return struct.pack(order + NUMBER_FORMATS[vr], number)
        return text.encode("ascii")

    # Elements

    def _note(self, path: str, did: Did) -> None:
        self.changes[path, did.value] += 1

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
            creator = _ascii(element.value)
            block = number << 8
            for other in item:
                is_in_block = other.tag >> 16 == tag >> 16 and other.tag & 0xFF00 == block
                if is_in_block and self._safe_private_value(creator, other) is not None:
                    return Element(tag, "LO", creator.encode("ascii", "ignore"))
            return None
        if number < 0x1000:
            return None
        creator_tag = (tag & 0xFFFF0000) | (number >> 8)
        creator = next((_ascii(other.value) for other in item if other.tag == creator_tag), "")
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
                scheme = _ascii(element.value)
            elif element.tag > 0x00080120:
                break
        return (scheme or "") if is_code else None

    def _concept_rule(self, item: Item) -> Action | None:
        """Return what table E.3.4-1 says of a content item, if it says anything."""
        value_type, code = "", None
        for element in item:
            if element.tag == _VALUE_TYPE:
                value_type = _ascii(element.value)
            elif element.tag == _CONCEPT_NAME and isinstance(element.value, list) and element.value:
                inner = {
                    child.tag: _ascii(child.value)
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
        if tag in _PIXEL_TAGS or tag in (_EXTENDED_OFFSETS, _EXTENDED_LENGTHS):
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
        if tag == _SPECIFIC_CHARACTER_SET:
            text = raw.decode("ascii", "replace")
            is_defined = all(_DEFINED_CHARACTER_SETS.fullmatch(part.strip(" \0")) for part in text.split("\\"))
            return raw.rstrip(b" \0") if is_defined else b""
        if tag in (_PATIENT_NAME, _PATIENT_ID) and action is not Action.REMOVE:
            return self.mapper.label("patient", self.patient).encode()
        if tag == _ACCESSION_NUMBER:
            return self.mapper.label("accession", _ascii(raw)).encode() if _ascii(raw) else b""
        if action is Action.EMPTY:
            return b""
        if action is Action.DUMMY and vr == "UI":
            action = Action.MAP
        if action is Action.DUMMY:
            return values.DUMMIES.get(vr, "").encode() if _ascii(raw) else b""
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
            return Element(tag, vr, b"\0" * max(2, _cell_bytes(vr)))
        if not _has_room(tag, vr, len(value)):
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
        if element.vr == "UN" and not self.source.syntax.is_little and _cell_bytes(vr) > 1:
            return Element(tag, vr, swap_cells(bytes(value), _cell_bytes(vr)))
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

    # The end

    def _with_methods(self, out: Item) -> Item:
        profile = self.profile
        was_looked_at = self.report.pixels in ("checked", "cleaned")
        is_known = was_looked_at or self.report.pixels == "exempt"
        codes = method_codes(profile, pixels_were_cleaned=is_known)
        self.report.method_codes = codes
        added = method_elements(profile, codes, table().edition, SOFTWARE)
        if was_looked_at:
            out = [element for element in out if element.tag != _BURNED_IN_ANNOTATION]
            added.append(Element(_BURNED_IN_ANNOTATION, "CS", b"NO"))
        if self._may_show_face():
            self.report.warnings.append("recognizable-visual-features")
            if profile.clean_recognizable_visual_features:
                out = [element for element in out if element.tag != _RECOGNIZABLE_VISUAL_FEATURES]
                added.append(Element(_RECOGNIZABLE_VISUAL_FEATURES, "CS", b"YES"))
        return sorted([*out, *added], key=lambda element: element.tag)

    def _may_show_face(self) -> bool:
        """Say whether this may be a slice of a head, from which a face can be rebuilt."""
        if self.text(0x00080060) not in ("CT", "MR") or not self.source.index.get(0x7FE00010):
            return False
        said = " ".join(self.text(tag) for tag in (0x00180015, 0x00081030, 0x0008103E, 0x00181030)).upper()
        return bool(_HEAD_WORDS & set(re.split(r"[^A-Z]+", said)))

    def _fill_report(self, out: Item) -> None:
        index = {element.tag: element.value for element in out}
        report = self.report
        report.sop_class_uid = _ascii(index.get(_SOP_CLASS_UID))
        report.sop_instance_uid = _ascii(index.get(_SOP_INSTANCE_UID))
        report.study_instance_uid = _ascii(index.get(0x0020000D))
        report.series_instance_uid = _ascii(index.get(0x0020000E))
        report.modality = _ascii(index.get(0x00080060))

    def _file(self, out: Item) -> list[Bytes]:
        meta: Item = [
            Element(0x00020001, "OB", b"\0\1"),
            Element(0x00020002, "UI", self.report.sop_class_uid.encode()),
            Element(0x00020003, "UI", self.report.sop_instance_uid.encode()),
            Element(0x00020010, "UI", self.transfer_syntax_uid.encode()),
            Element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode()),
            Element(0x00020013, "SH", b"VIEWBOX"),
        ]
        head: list[Bytes] = []
        length = write_elements(meta, EXPLICIT, head)
        group: list[Bytes] = []
        write_elements([Element(0x00020000, "UL", struct.pack("<I", length))], EXPLICIT, group)
        body: list[Bytes] = []
        write_elements(out, self.syntax, body)
        if self.transfer_syntax_uid in _DEFLATED:
            deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            packed = b"".join([deflater.compress(part) for part in body]) + deflater.flush()
            body = [packed + b"\0" * (len(packed) & 1)]
        return [b"\0" * 128 + b"DICM", *group, *head, *body]


@lru_cache(maxsize=4096)
def _has_room(tag: int, vr: str, length: int) -> bool:
    """Say whether so many bytes can be values of an attribute, after the multiplicity in its dictionary."""
    cell = 4 if vr == "AT" else struct.calcsize(NUMBER_FORMATS[vr]) if vr in NUMBER_FORMATS else 0
    if not cell:
        return True
    try:
        most = dictionary_VM(tag).split("-")[-1]
    except KeyError:
        return True
    if length % cell:
        return False
    return "n" in most or not most.isdigit() or length <= cell * int(most)


def _cell_bytes(vr: str) -> int:
    if vr in NUMBER_FORMATS:
        return struct.calcsize(NUMBER_FORMATS[vr])
    return {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8, "AT": 2}.get(vr, 1)


def swap_cells(value: bytes, size: int) -> bytes:
    """Return ``value`` with the bytes of each cell of ``size`` bytes reversed."""
    made = bytearray(value)
    whole = len(value) // size * size
    for offset in range(size):
        made[offset:whole:size] = value[size - 1 - offset : whole : size]
    return bytes(made)


def swapped(item: Item) -> Item:
    """Return a data set in the other byte order."""
    made: Item = []
    for element in item:
        value = element.value
        if isinstance(value, list):
            made.append(Element(element.tag, element.vr, [swapped(child) for child in value]))
        elif isinstance(value, Fragments) or element.vr == "UN":
            made.append(element)
        else:
            vr = element.vr.split(" or ")[0] if " or " in element.vr else element.vr
            size = _cell_bytes(vr)
            made.append(element if size == 1 else Element(element.tag, element.vr, swap_cells(bytes(value), size)))
    return made
