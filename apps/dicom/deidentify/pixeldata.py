"""Pixel data without anything that is no pixel: trailing bytes, unused bits, comments in codestreams."""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from apps.dicom.frames import PixelFormat

from .codec import Bytes, Fragments
from .codestreams import clean_fragments
from .errors import NeedsReviewError, Reason

VIDEO: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))

_MEASURED: Final = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{suffix}"
    for suffix in ("2", "2.1", "2.2", "4", "4.1", "4.3", "20", "128", "128.1", "130")
)
"""CT, MR, PET and NM images and their enhanced forms."""
_COMPUTED: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("30", "66.4", "66.5", "66.7", "481.2"))
"""Parametric maps, segmentations, doses: numbers that a program wrote."""
_SCREEN_WORDS: Final = (
    "SCREEN",
    "SNAPSHOT",
    "CAPTURE",
    "REPORT",
    "DOSE",
    "PROTOCOL",
    "INFO",
    "SUMMARY",
    "GRAPH",
    "PASTED",
)


def may_show_text(
    *, sop_class_uid: str, image_type: str, burned_in_annotation: str, samples_per_pixel: int, bits_allocated: int
) -> bool:
    """Say whether text may be burned into the pixels: into all but what was measured or computed."""
    if burned_in_annotation.upper() == "YES":
        return True
    if sop_class_uid in _COMPUTED:
        return False
    said = image_type.upper()
    return (
        sop_class_uid not in _MEASURED
        or samples_per_pixel > 1
        or bits_allocated <= 8
        or any(word in said for word in _SCREEN_WORDS)
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """What the Image Pixel attributes say (PS3.3 C.7.6.3)."""

    format: PixelFormat
    number_of_frames: int
    high_bit: int
    padding_value: int | None
    is_little: bool

    @property
    def expected_bytes(self) -> int:
        """Length of native pixel data without padding."""
        return (self.format.frame_bits * self.number_of_frames + 7) // 8


def clean_native(value: Bytes, layout: Layout) -> tuple[list[Bytes], bool]:
    """Return native pixel data cut to its frames, unused bits empty, and whether bits had to be emptied."""
    expected = layout.expected_bytes
    if expected and len(value) > expected:
        value = memoryview(value)[:expected]
    masked = _mask_unused_bits(value, layout)
    return [value if masked is None else masked], masked is not None


def _mask_unused_bits(value: Bytes, layout: Layout) -> bytes | None:
    """Empty the bits of each cell that hold no part of the stored value; None when there is nothing to empty.

    Above a signed value its sign is repeated, which is what decoders expect and no place to hide in.
    """
    form = layout.format
    allocated, stored, high = form.bits_allocated, form.bits_stored, layout.high_bit
    if (
        form.is_float
        or allocated not in (8, 16, 32)
        or not 0 < stored < allocated
        or not stored - 1 <= high < allocated
    ):
        return None
    size = allocated // 8
    cells = np.frombuffer(value, dtype=np.dtype(f"{'<' if layout.is_little else '>'}u{size}"), count=len(value) // size)
    low = high + 1 - stored
    used = ((1 << stored) - 1) << low
    unused = ~used & ((1 << allocated) - 1)
    bits = cells.dtype.type(unused)
    if not np.bitwise_and(cells, bits).any():
        return None
    if form.pixel_representation and high < allocated - 1:
        above = cells.dtype.type(unused >> (high + 1) << (high + 1))
        is_negative = np.bitwise_and(cells, cells.dtype.type(1 << high)) != 0
        wanted = np.where(is_negative, above, cells.dtype.type(0))
    else:
        wanted = np.zeros(1, dtype=cells.dtype)
    wrong = np.bitwise_and(cells, bits) != wanted
    if layout.padding_value is not None:
        wrong &= cells != cells.dtype.type(layout.padding_value & ((1 << allocated) - 1))
    if not wrong.any():
        return None
    kept = np.bitwise_or(np.bitwise_and(cells, cells.dtype.type(used)), wanted)
    cleaned = np.where(wrong, kept, cells).astype(cells.dtype, copy=False)
    return cleaned.tobytes() + bytes(memoryview(value)[len(cells) * size :])


def clean_encapsulated(value: Fragments, transfer_syntax_uid: str, layout: Layout) -> tuple[Fragments, int]:
    """Return compressed pixel data with everything emptied that is no image, and how many places that was."""
    if transfer_syntax_uid in VIDEO:
        raise NeedsReviewError(Reason.VIDEO)
    return clean_fragments(
        value,
        transfer_syntax_uid,
        number_of_frames=layout.number_of_frames,
        pixels_per_frame=layout.format.rows * layout.format.columns,
    )


def extended_offsets(value: Fragments) -> tuple[bytes, bytes]:
    """Return the extended offset table and its lengths for one fragment a frame (PS3.3 C.7.6.3.1.8)."""
    offsets, at = [], 0
    for part in value.parts:
        offsets.append(at)
        at += len(part) + (len(part) & 1) + 8
    count = len(offsets)
    return struct.pack(f"<{count}Q", *offsets), struct.pack(f"<{count}Q", *(len(part) for part in value.parts))


def fragments_of(frames: tuple[bytes, ...]) -> Fragments:
    """Return frames as encapsulated pixel data, one fragment each, with an offset table if there are several."""
    offsets, at = [], 0
    for frame in frames:
        offsets.append(at)
        at += len(frame) + (len(frame) & 1) + 8
    table = struct.pack(f"<{len(offsets)}I", *offsets) if len(frames) > 1 and at < 1 << 32 else b""
    return Fragments(table, list(frames))
