"""The door through which text burned into pixels is found and cleaned.

The engine of this package changes attributes only. What looks at pixels is a ``PixelCleaner``: it is called once
for every instance with pixel data whose profile has Clean Pixel Data switched on, and answers with the cleaned pixel
data, with None (looked at, nothing to change), or by raising ``NeedsReviewError``. Where no cleaner is given, what
may hold text is refused: nothing is called clean that nobody looked at.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from apps.dicom.parse import Header, parse_header


@dataclass
class PixelJob:
    """What a cleaner may know of an instance. ``data`` is the whole original Part 10 file."""

    data: bytes
    transfer_syntax_uid: str
    words: tuple[str, ...]
    """Names, numbers and dates of this patient and of the staff as the header spells them: seeds for detection."""
    text: Callable[[int], str]
    """First value of a top-level attribute of the original, by tag, decoded and stripped; '' when absent."""

    @cached_property
    def header(self) -> Header:
        """The original parsed, with the index of its frames. Costs a few milliseconds: ask only if needed."""
        return parse_header(io.BytesIO(self.data))


@dataclass(frozen=True, slots=True)
class CleanedPixels:
    """Pixel data with its text gone, every frame of it, in the order of the original.

    ``frames`` are native frames for a native transfer syntax (concatenated as they are) or one codestream a frame for
    a compressed one. ``attributes`` are top-level attributes that change with them, by tag, in their textual form
    (for example ``{0x00280004: "RGB"}``); None removes one.
    """

    transfer_syntax_uid: str
    frames: tuple[bytes, ...]
    regions: int
    """How many regions were cleaned, for the report."""
    attributes: Mapping[int, str | None] = field(default_factory=dict)
    lossy_again: bool = False
    """Whether pixels outside the regions may differ because they had to be compressed with loss again."""


class PixelCleaner(Protocol):
    """Looks for text in the pixels of one instance."""

    def __call__(self, job: PixelJob) -> CleanedPixels | None:
        """Return the cleaned pixels, None when there is nothing to clean; raise ``NeedsReviewError`` when in doubt."""
        ...
