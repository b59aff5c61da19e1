"""Every error that leaves this package, each with a stable ``code`` and a plain sentence.

The codes are a contract: pages translate them, imports report them, tests name them. The sentences
never quote a value of the file, because it may be a patient's.
"""

from enum import StrEnum


class Code(StrEnum):
    """What can be wrong with a file, or with what is asked of it."""

    # A file that is refused.
    NOT_DICOM = "not-dicom"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    EXPANDS_BEYOND_LIMIT = "expands-beyond-limit"
    TOO_DEEP = "too-deep"
    TOO_MANY_ELEMENTS = "too-many-elements"
    TOO_LARGE = "too-large"
    TOO_MANY_PIXELS = "too-many-pixels"
    NO_TRANSFER_SYNTAX = "no-transfer-syntax"
    NO_UID = "no-uid"
    BAD_UID = "bad-uid"
    NO_STUDY = "no-study"
    PARSER_CRASHED = "parser-crashed"
    PARSER_TIMED_OUT = "parser-timed-out"
    # A file that is passed over, and nobody need worry.
    DICOMDIR = "dicomdir"
    # Something asked of an instance that it cannot give.
    NO_PIXELS = "no-pixels"
    NO_SUCH_FRAME = "no-such-frame"
    FRAME_NOT_ADDRESSABLE = "frame-not-addressable"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported-transfer-syntax"
    UNDECODABLE = "undecodable"
    NO_SUCH_ELEMENT = "no-such-element"
    BAD_ARGUMENT = "bad-argument"
    BAD_INDEX = "bad-index"
    NOT_AVAILABLE = "not-available"
    # What de-identification does not release.
    NEEDS_REVIEW = "needs-review"


MESSAGES: dict[Code, str] = {
    Code.NOT_DICOM: "This is not a DICOM file.",
    Code.TRUNCATED: "The file is incomplete: it ends before its data does.",
    Code.MALFORMED: "The file is damaged: its contents cannot be read as DICOM.",
    Code.EXPANDS_BEYOND_LIMIT: "The file expands beyond the limit when it is decompressed.",
    Code.TOO_DEEP: "The file nests its sequences too deeply.",
    Code.TOO_MANY_ELEMENTS: "The file has too many data elements.",
    Code.TOO_LARGE: "The file has a header too large to read.",
    Code.TOO_MANY_PIXELS: "The file declares an image too large to be shown.",
    Code.NO_TRANSFER_SYNTAX: "The file does not say how its pixels are encoded.",
    Code.NO_UID: "The file lacks a unique identifier that every instance must have.",
    Code.BAD_UID: "A unique identifier in the file is not a valid one.",
    Code.NO_STUDY: "The object belongs to no study.",
    Code.PARSER_CRASHED: "Reading the file failed in a way that only damaged files cause.",
    Code.PARSER_TIMED_OUT: "Reading the file took too long.",
    Code.DICOMDIR: "This is the index of a disc; the instances beside it are read instead.",
    Code.NO_PIXELS: "The instance has no pixels.",
    Code.NO_SUCH_FRAME: "The instance has no such frame.",
    Code.FRAME_NOT_ADDRESSABLE: "The frames of the instance cannot be read one by one.",
    Code.UNSUPPORTED_TRANSFER_SYNTAX: "The pixels are encoded in a way that cannot be decoded here.",
    Code.UNDECODABLE: "The pixels are damaged and cannot be decoded.",
    Code.NO_SUCH_ELEMENT: "The instance has no such data element.",
    Code.BAD_ARGUMENT: "The request has a value that cannot be used.",
    Code.BAD_INDEX: "The stored frame index cannot be read.",
    Code.NOT_AVAILABLE: "This is not available yet.",
    Code.NEEDS_REVIEW: "A person must look at this before it may be released.",
}


class DicomError(Exception):
    """Base of all errors of this package."""

    def __init__(self, code: Code, message: str = "") -> None:
        self.code = code
        self.message = message or MESSAGES[code]
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type["DicomError"], tuple[Code, str]]:
        """Errors cross the pipe from a parser process unharmed."""
        return type(self), (self.code, self.message)


class RejectedError(DicomError):
    """The file cannot be accepted."""


class IgnoredError(DicomError):
    """The file is passed over: nothing is wrong, and nothing is stored."""


class NoPixelsError(DicomError):
    """The instance has no pixels: a report, a document, a waveform, a plan."""

    def __init__(self, code: Code = Code.NO_PIXELS, message: str = "") -> None:
        super().__init__(code, message)


class FrameError(DicomError):
    """The frame asked for does not exist or cannot be addressed by itself."""


class DecodeError(DicomError):
    """The pixels cannot be decoded or shown."""


class BulkDataError(DicomError):
    """The data element asked for does not exist or is no bulk data."""


class NotAvailableError(DicomError):
    """The act is laid out but its engine is not there yet. Nothing is done, and nothing pretends to be."""

    def __init__(self, code: Code = Code.NOT_AVAILABLE, message: str = "") -> None:
        super().__init__(code, message)
