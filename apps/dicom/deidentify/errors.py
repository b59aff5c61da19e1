"""Why an instance was not released."""

from enum import StrEnum
from typing import Final

from apps.dicom.errors import Code, DicomError


class Reason(StrEnum):
    """What a person has to look at before an instance may be released. The values are a contract."""

    ENCAPSULATED_DOCUMENT = "encapsulated-document"
    BURNED_IN_DECLARED = "burned-in-declared"
    PIXELS_UNCHECKED = "pixels-unchecked"
    PIXELS_DOUBTFUL = "pixels-doubtful"
    VIDEO = "video"
    SPOKEN = "spoken"
    UNREADABLE_CODESTREAM = "unreadable-codestream"
    RESIDUE = "residue"


SENTENCES: Final[dict[Reason, str]] = {
    Reason.ENCAPSULATED_DOCUMENT: "It holds a whole document (PDF, CDA, 3D model), which no rule can clean.",
    Reason.BURNED_IN_DECLARED: "It says itself that identity is burned into its pixels.",
    Reason.PIXELS_UNCHECKED: "Its pixels may show text, and nothing has looked at them.",
    Reason.PIXELS_DOUBTFUL: "Its pixels may still show text that could not be cleaned for certain.",
    Reason.VIDEO: "It is a video, whose frames and sound were not looked at.",
    Reason.SPOKEN: "It holds recorded speech.",
    Reason.UNREADABLE_CODESTREAM: "Its compressed pixels hold parts that could not be read and so not be cleaned.",
    Reason.RESIDUE: "Something of the patient was found again after cleaning.",
}


class NeedsReviewError(DicomError):
    """The instance may not be released before a person has looked at it. ``reason`` says at what."""

    def __init__(self, reason: Reason | str, message: str = "") -> None:
        self.reason = Reason(reason)
        super().__init__(Code.NEEDS_REVIEW, message or SENTENCES[self.reason])

    def __reduce__(self) -> tuple[type["NeedsReviewError"], tuple[str, str]]:  # type: ignore[override]
        """Errors cross the pipe from a worker process unharmed."""
        return type(self), (str(self.reason), self.message)
