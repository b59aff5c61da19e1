"""Files of strangers, parsed and decoded in child processes that can do nothing else.

A parser has holes, and five libraries of other people's C decode what anybody sends. Here they run in children that
have no secret in memory (those of `deidentifying` have one, and say so), can open no file and no connection, and have
only so much memory and time; see `confine` for what holds them and `pool` for how they are fed. What comes back is
checked before it is believed.

Every function takes files of any kind (in memory, decrypting, far away) and raises only what its namesake in this room
raises, with two codes more: `parser-crashed` and `parser-timed-out`. What reading the file raises comes through.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, BinaryIO, Final

from apps.dicom import decode as _decode
from apps.dicom.decode import Viewport, Window
from apps.dicom.encapsulate import Subject
from apps.dicom.errors import Code, DecodeError, DicomError, NoPixelsError, RejectedError
from apps.dicom.frames import PixelIndex
from apps.dicom.limited.plain import NotPlainError, from_plain
from apps.dicom.limited.pool import Answer, Call, Limits, Pool
from apps.dicom.limited.wire import Buffer
from apps.dicom.parse import Header
from apps.dicom.report import ReportItem

__all__ = [
    "bulk_data",
    "bundles",
    "close",
    "decode_frame",
    "document_items",
    "metadata",
    "parse_header",
    "parse_headers",
    "photograph",
    "picture_alone",
    "picture_small",
    "picture_type",
    "reissue",
    "rendered",
    "report_items",
    "thumbnail",
    "to_explicit_little_endian",
    "warm_up",
]

_OPERATIONS: Final = "apps.dicom.limited.operations"
_MB: Final = 1 << 20
# Reading a header takes a millisecond; the largest that is taken (100,000 elements, 128 MB) a few seconds.
READERS: Final = Pool(
    _OPERATIONS,
    Limits(memory_bytes=1024 * _MB, processor_seconds=20, wall_seconds=60, payload_bytes=256 * _MB),
    size=4,
)
DECODERS: Final = Pool(
    _OPERATIONS,
    Limits(memory_bytes=4096 * _MB, processor_seconds=60, wall_seconds=120, payload_bytes=4 * _MB, files=1000),
    size=3,
)
# Private elements of a hundred kilobytes before the pixels are not rare.
_HEAD_BYTES: Final = 256 << 10
_FILES_OF_A_CALL: Final = 50
_PIXEL_TAG: Final = b"\xe0\x7f\x10\x00"
# The element's own head, the head of the first item and a short offset table.
_BEHIND_TAG_BYTES: Final = 64


def warm_up() -> None:
    """Start a reader ahead of the first file; returns at once."""
    READERS.warm_up()


def close() -> None:
    """End the idle children of this process."""
    READERS.close()
    DECODERS.close()


def parse_header(file: BinaryIO) -> Header:
    """Return what a file says about itself, as `parse.parse_header` does, but for `dataset`, which is empty."""
    [found] = parse_headers([file])
    if isinstance(found, DicomError):
        raise found
    return found


def parse_headers(files: Sequence[BinaryIO]) -> list[Header | DicomError]:
    """Parse several files in one go, which costs much less than one by one; an error takes its file's place."""
    calls = [files[first : first + _FILES_OF_A_CALL] for first in range(0, len(files), _FILES_OF_A_CALL)]
    return [_header_of(answer) for part in calls for answer in READERS.run(Call("parse", part, head_of=_head_of))]


def metadata(file: BinaryIO, root: str) -> bytes:
    """Return the DICOM JSON Model of a file, UTF-8; URIs of bulk data are `root`, a slash and the tag path."""
    return _bytes(READERS, file, "metadata", root=root)


def bulk_data(file: BinaryIO, path: str) -> tuple[str, bytes]:
    """Return the value representation and the value of the element at a tag path; see `json_model.bulk_data`."""
    answer = _one(DECODERS, file, "bulk_data", {"path": path})
    if type(answer.body) is not str:
        raise RejectedError(Code.PARSER_CRASHED)
    return answer.body, b"".join(answer.payload)


def bundles(file: BinaryIO) -> list[bytes]:
    """Return what is packed into a file as ZIP files, for a virus scanner; see `embedded.bundles`."""
    answer = _one(READERS, file, "bundles", {})
    whole = b"".join(answer.payload)
    try:
        ends = [int(end) for end in accumulate(answer.body)]
    except (TypeError, ValueError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error
    if (ends[-1] if ends else 0) != len(whole):
        raise RejectedError(Code.PARSER_CRASHED)
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def report_items(file: BinaryIO) -> list[ReportItem]:
    """Return the lines of a structured report; see `report.report_items`."""
    return _items(_one(READERS, file, "report_items", {}).body)


def document_items(file: BinaryIO) -> list[ReportItem]:
    """Return the lines of an encapsulated CDA document; see `cda.cda_items`."""
    return _items(_one(READERS, file, "document_items", {}).body)


def _items(lines: Any) -> list[ReportItem]:
    try:
        return [ReportItem(int(depth), str(name), str(value), str(kind)) for depth, name, value, kind in lines]
    except (TypeError, ValueError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error


def thumbnail(file: BinaryIO, size: int = _decode.THUMBNAIL_SIZE) -> bytes:
    """Return a JPEG of the middle frame; see `decode.thumbnail`."""
    return _bytes(DECODERS, file, "thumbnail", size=size)


def rendered(
    file: BinaryIO,
    frame: int = 1,
    window: tuple[float, float] | Window | None = None,
    size: tuple[int, int] | Viewport | None = None,
    media_type: str = "image/jpeg",
    *,
    quality: int = 90,
) -> bytes:
    """Return a frame as a picture; see `decode.rendered`."""
    return _bytes(
        DECODERS,
        file,
        "rendered",
        frame=frame,
        window=None if window is None else list(window),
        size=None if size is None else list(size),
        media_type=media_type,
        quality=quality,
    )


def decode_frame(file: BinaryIO, index: PixelIndex | None, n: int) -> bytes:
    """Return a frame uncompressed; see `decode.decode_frame`."""
    if index is None:
        raise NoPixelsError
    return _bytes(DECODERS, file, "decode_frame", index=index.to_bytes().hex(), frame=n)


def to_explicit_little_endian(file: BinaryIO) -> bytes:
    """Return the instance in Explicit VR Little Endian; see `decode.to_explicit_little_endian`."""
    return _bytes(DECODERS, file, "transcode")


def reissue(file: BinaryIO, sop_instance_uid: str, *, at: datetime) -> tuple[bytes, int]:
    """Return the beginning of a file under another UID, and where the rest goes on; see `reissue.reissue`."""
    answer = _one(READERS, file, "reissue", {"uid": sop_instance_uid, "at": at.isoformat()})
    if type(answer.body) is not int:
        raise RejectedError(Code.PARSER_CRASHED)
    return b"".join(answer.payload), answer.body


def picture_type(file: BinaryIO) -> str:
    """Return the media type of a photograph that decodes whole; see `pictures.check`."""
    return str(_one(DECODERS, file, "picture_type", {}).body)


def picture_alone(file: BinaryIO) -> bytes:
    """Return a photograph without what stands beside the picture; see `pictures.without_notes`."""
    return _bytes(DECODERS, file, "picture_alone")


def picture_small(file: BinaryIO, size: int) -> bytes:
    """Return a JPEG of a photograph, at most `size` pixels a side; see `pictures.small`."""
    return _bytes(DECODERS, file, "picture_small", size=size)


def photograph(file: BinaryIO, subject: Subject, *, title: str, made_at: datetime, seed: str) -> bytes:
    """Return a photograph as a DICOM object; see `encapsulate.photograph`."""
    plain = subject.to_plain()
    return _bytes(DECODERS, file, "photograph", subject=plain, title=title, made_at=made_at.isoformat(), seed=seed)


def _bytes(pool: Pool, file: BinaryIO, operation: str, **arguments: Any) -> bytes:
    return b"".join(_one(pool, file, operation, arguments).payload)


def _one(pool: Pool, file: BinaryIO, operation: str, arguments: dict[str, Any]) -> Answer:
    [answer] = pool.run(Call(operation, [file], arguments, head_of=_head_of))
    error = answer.error
    if error is None:
        return answer
    if pool is DECODERS and error.code in (Code.PARSER_CRASHED, Code.PARSER_TIMED_OUT):
        # Who asks for a picture is told that there is none, as with any other damage.
        raise DecodeError(error.code)
    raise error


def _head_of(file: BinaryIO) -> tuple[int, Buffer]:
    """Return a file's size and its beginning, as far as the pixels if they begin soon: a guess that saves copying."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    at = head.find(_PIXEL_TAG)
    if at >= 0:
        head = head[: at + _BEHIND_TAG_BYTES]
    return size, head


def _header_of(answer: Answer) -> Header | DicomError:
    if answer.error is not None:
        return answer.error
    try:
        return from_plain(answer.body, b"".join(answer.payload))
    except NotPlainError:
        return RejectedError(Code.PARSER_CRASHED)
