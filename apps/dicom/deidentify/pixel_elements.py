"""The pixels of an instance: looked at, replaced by cleaned ones, or rid of what hides around them."""

import struct

from apps.dicom.elements import NUMBER_FORMATS
from apps.dicom.frames import PixelFormat

from . import pixeldata
from .cells import swapped
from .codec import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, Element, Fragments, Item, Syntax
from .errors import NeedsReviewError, Reason
from .pixels import CleanedPixels, PixelJob
from .profile import vr_of
from .report import Did
from .source import ascii_of
from .subject import Subject
from .tags import BURNED_IN_ANNOTATION, EXTENDED_LENGTHS, EXTENDED_OFFSETS, PIXEL_TAGS, SOP_CLASS_UID


class PixelElements(Subject):
    """What becomes of the pixels."""

    def _cleaned_pixels(self) -> CleanedPixels | None:
        if not any(tag in self.source.index for tag in PIXEL_TAGS):
            return None
        self.report.pixels = "unchanged"
        if not self.profile.clean_pixel_data:
            return None
        image_type = self.source.index.get(0x00080008)
        if not pixeldata.may_show_text(
            sop_class_uid=self.text(SOP_CLASS_UID),
            image_type=ascii_of(image_type.value) if image_type is not None else "",
            burned_in_annotation=self.text(BURNED_IN_ANNOTATION),
            samples_per_pixel=self.integer(0x00280002) or 1,
            bits_allocated=self.integer(0x00280100) or 16,
        ):
            self.report.pixels = "exempt"
            return None
        if self.pixel_cleaner is None:
            is_declared = self.text(BURNED_IN_ANNOTATION).upper() == "YES"
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
            if element.tag not in PIXEL_TAGS:
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
        if EXTENDED_OFFSETS not in index and EXTENDED_LENGTHS not in index:
            return out
        if pixels is not None and isinstance(pixels.value, Fragments):
            true = pixeldata.extended_offsets(pixels.value)
            stated = tuple(
                bytes(index[tag].value) if tag in index else b""  # type: ignore[arg-type]
                for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS)
            )
            if stated == true:
                return out
        return [element for element in out if element.tag not in (EXTENDED_OFFSETS, EXTENDED_LENGTHS)]

    def _replace_pixels(self, out: Item, cleaned: CleanedPixels) -> Item:
        gone = {0x7FE00010, 0x7FE00008, 0x7FE00009, EXTENDED_OFFSETS, EXTENDED_LENGTHS, *cleaned.attributes}
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
