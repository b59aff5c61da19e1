"""Decide whether a parsed file may become an instance of a study."""

from typing import Final

from . import frames, sop_classes
from .errors import Code, RejectedError
from .parse import Header
from .uid import is_valid_uid

MAX_DECLARED_PIXEL_BYTES: Final = 64 << 30
"""Largest sum of all decoded frames of one instance. Whole slides come near it; hostile headers go beyond."""


def validate(header: Header) -> None:
    """Raise ``RejectedError`` unless the header can be stored and indexed.

    Codes: ``no-study`` (an object outside of studies, such as a colour palette), ``no-uid``, ``bad-uid``,
    ``too-many-pixels``.
    """
    if header.sop_class_uid and not sop_classes.belongs_to_study(header.sop_class_uid):
        raise RejectedError(Code.NO_STUDY)
    uids = (
        header.sop_class_uid,
        header.sop_instance_uid,
        header.study_instance_uid,
        header.series_instance_uid,
        header.transfer_syntax_uid,
    )
    if not all(uids):
        raise RejectedError(Code.NO_UID)
    if not all(is_valid_uid(uid) for uid in uids):
        raise RejectedError(Code.BAD_UID)
    _validate_pixels(header)


def _validate_pixels(header: Header) -> None:
    index = header.pixels
    if index is None:
        return
    frame_bytes = index.format.decoded_frame_bytes
    if frame_bytes > frames.MAX_FRAME_BYTES or frame_bytes * index.number_of_frames > MAX_DECLARED_PIXEL_BYTES:
        raise RejectedError(Code.TOO_MANY_PIXELS)
