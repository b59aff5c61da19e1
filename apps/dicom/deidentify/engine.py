"""One Part 10 file in, the same file without identity out.

The order: read, refuse what only a person can judge, harvest who the patient and the staff are, rewrite element by
element after the rules of the profile, clean the pixels' surroundings, say what was done, write, look once more.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from apps.dicom import charset
from apps.dicom.errors import Code, RejectedError
from apps.dicom.uid import IMPLEMENTATION_CLASS_UID

from . import harvest
from .codec import EXPLICIT, Bytes, Element, Item, write_elements
from .errors import NeedsReviewError, Reason
from .identity import Identity
from .mapping import Mapper
from .methods import method_codes, method_elements
from .pixel_elements import PixelElements
from .pixels import PixelCleaner
from .profile import Profile, rules_of, table
from .report import SOFTWARE, Report
from .residue import count_residue
from .rewriting import Rewriting
from .source import ascii_of, read_source
from .tags import BURNED_IN_ANNOTATION, DEFLATED, SOP_CLASS_UID, SOP_INSTANCE_UID

_SPOKEN: Final = frozenset({"1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2"})
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_RECOGNIZABLE_VISUAL_FEATURES: Final = 0x00280302
_HEAD_WORDS: Final = frozenset({"HEAD", "SKULL", "BRAIN", "FACE", "NEURO", "KOPF", "SCHAEDEL"})


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


class _Run(Rewriting, PixelElements):
    """De-identifies one file."""

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

    def _refuse(self) -> None:
        index = self.source.index
        if self.text(SOP_CLASS_UID) in _SPOKEN:
            raise NeedsReviewError(Reason.SPOKEN)
        if _ENCAPSULATED_DOCUMENT in index or harvest.holds(self.source.elements, _ENCAPSULATED_DOCUMENT):
            raise NeedsReviewError(Reason.ENCAPSULATED_DOCUMENT)

    def _with_methods(self, out: Item) -> Item:
        profile = self.profile
        was_looked_at = self.report.pixels in ("checked", "cleaned")
        is_known = was_looked_at or self.report.pixels == "exempt"
        codes = method_codes(profile, pixels_were_cleaned=is_known)
        self.report.method_codes = codes
        added = method_elements(profile, codes, table().edition, SOFTWARE)
        if was_looked_at:
            out = [element for element in out if element.tag != BURNED_IN_ANNOTATION]
            added.append(Element(BURNED_IN_ANNOTATION, "CS", b"NO"))
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
        report.sop_class_uid = ascii_of(index.get(SOP_CLASS_UID))
        report.sop_instance_uid = ascii_of(index.get(SOP_INSTANCE_UID))
        report.study_instance_uid = ascii_of(index.get(0x0020000D))
        report.series_instance_uid = ascii_of(index.get(0x0020000E))
        report.modality = ascii_of(index.get(0x00080060))

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
        if self.transfer_syntax_uid in DEFLATED:
            deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            packed = b"".join([deflater.compress(part) for part in body]) + deflater.flush()
            body = [packed + b"\0" * (len(packed) & 1)]
        return [b"\0" * 128 + b"DICM", *group, *head, *body]
