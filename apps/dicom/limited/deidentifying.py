"""De-identification in children of their own: the header engine and the text detector read what strangers sent.

They know what the other children do not: the key of the clinic's pseudonyms, of the one call they are at. It is sent
with the call; a child answers one call at a time, through its one socket, and only to the process that has the key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from apps.dicom.burned_in.boxes import Box
from apps.dicom.burned_in.rules import Doubt
from apps.dicom.deidentify.errors import NeedsReviewError
from apps.dicom.deidentify.verify import Known
from apps.dicom.errors import Code, DicomError, RejectedError
from apps.dicom.limited.pool import Answer, Call, Limits, Pool

_MB: Final = 1 << 20
# The models, two threads of the detector and two that read; a long cine takes minutes.
POOL: Final = Pool(
    "apps.dicom.limited.deidentify_operations",
    Limits(memory_bytes=6144 * _MB, processor_seconds=900, wall_seconds=1200, payload_bytes=4 * _MB, files=200),
    size=2,
)


@dataclass(frozen=True)
class Proposal:
    """Where text was found in an instance, and why a person should look all the same."""

    boxes: tuple[Box, ...]
    doubts: tuple[Doubt, ...]


def deidentify(
    file: BinaryIO, profile_name: str, key: bytes, approved: Sequence[Box] | None
) -> tuple[bytes, dict[str, Any]]:
    """Return an instance without identity and the report on it, for where people look at what is doubtful.

    `approved`: the boxes one of them decided on, None where nobody did. Raises `NeedsReviewError` and what
    `apps.dicom.deidentify.deidentify` raises, with the codes `parser-crashed` and `parser-timed-out`.
    """
    arguments = {
        "profile": profile_name,
        "key": key.hex(),
        "approved": None if approved is None else [list(box) for box in approved],
    }
    answer = _one("deidentify", file, arguments)
    try:
        if "review" in answer.body:
            raise NeedsReviewError(answer.body["review"])
        report = dict(answer.body["report"])
    except (TypeError, ValueError, KeyError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error
    return b"".join(answer.payload), report


def propose(file: BinaryIO) -> Proposal:
    """Return where text is and what is doubtful; no boxes for what cannot be looked at (a video, damaged pixels)."""
    answer = _one("propose", file, {})
    try:
        boxes = tuple(Box(*(int(edge) for edge in box)) for box in answer.body["boxes"])
        return Proposal(boxes, tuple(Doubt(doubt) for doubt in answer.body["doubts"]))
    except (TypeError, ValueError, KeyError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error


def harvest(file: BinaryIO, profile_name: str) -> Known:
    """Return what an original says of patient and staff; nothing for what is no DICOM file."""
    answer = _one("harvest", file, {"profile": profile_name})
    try:
        return Known.from_dict(answer.body)
    except (TypeError, KeyError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error


def count_residue(file: BinaryIO, known: Known) -> int:
    """Return how often a finished file says something of that."""
    answer = _one("count_residue", file, {"known": json.dumps(known.as_dict())})
    try:
        return int(answer.body["count"])
    except (TypeError, ValueError, KeyError) as error:
        raise RejectedError(Code.PARSER_CRASHED) from error


def _one(operation: str, file: BinaryIO, arguments: dict[str, Any]) -> Answer:
    [answer] = POOL.run(Call(operation, [file], arguments))
    if isinstance(answer.error, DicomError):
        raise answer.error
    return answer
