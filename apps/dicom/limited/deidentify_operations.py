"""What a child can do that de-identifies: see `deidentifying` for the portal's side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO, Final

import numpy as np

from apps.dicom.burned_in import clean, cleaner, detect, rules, sample
from apps.dicom.burned_in.boxes import Box
from apps.dicom.deidentify import PRESETS, Mapper, NeedsReviewError, preset, verify
from apps.dicom.deidentify import deidentify as deidentified
from apps.dicom.errors import DicomError
from apps.dicom.limited import operations
from apps.dicom.parse import parse_header
from apps.dicom.phantom import ct_head

Result = tuple[Any, Iterator[bytes]]
_PIECE_BYTES: Final = 1 << 20


def deidentify(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the report and the file without identity, or why a person has to look."""
    approved = arguments["approved"]
    boxes = None if approved is None else [Box(*box) for box in approved]
    mapper = _mapper(bytes.fromhex(arguments["key"]))
    try:
        result = deidentified(
            file.read(), preset(arguments["profile"]), mapper, pixel_cleaner=cleaner.supervised(boxes)
        )
    except NeedsReviewError as error:
        return {"review": str(error.reason)}, iter(())
    return {"report": result.report.as_dict()}, _pieces(result.data)


@lru_cache(maxsize=1)
def _mapper(key: bytes) -> Mapper:
    """One clinic's key at a time: the next clinic's puts it out of memory."""
    return Mapper(key)


def propose(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return where text is in an instance, and what is doubtful about it."""
    instance = sample.File(file.read())
    header = parse_header(instance)
    boxes: tuple[Box, ...] = ()
    try:
        if header.has_pixels:
            boxes = cleaner.examine(instance, header, cleaner.words_of(header)).boxes
    except DicomError:
        # A video, or damaged: shown without a proposal, or not at all.
        boxes = ()
    return {"boxes": [list(box) for box in boxes], "doubts": [doubt.value for doubt in rules.doubts(header)]}, iter(())


def harvest(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return what an original says of patient and staff."""
    return verify.known_of_files([file.read()], preset(arguments["profile"])).as_dict(), iter(())


def count_residue(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return how often a finished file says something that is known."""
    known = _known(arguments["known"])
    return {"count": sum(1 for _ in verify.scan_file(file.read(), "", known))}, iter(())


@lru_cache(maxsize=1)
def _known(told: str) -> verify.Known:
    """Return what the originals of one study say, for file after file of it."""
    known = verify.Known.from_dict(json.loads(told))
    known.close()
    return known


def _pieces(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    return (bytes(view[at : at + _PIECE_BYTES]) for at in range(0, len(view), _PIECE_BYTES))


OPERATIONS: Final = {
    "deidentify": deidentify,
    "propose": propose,
    "harvest": harvest,
    "count_residue": count_residue,
}


def warm_up() -> None:
    """Load the models, the tables and the encoders: a confined child opens no file."""
    operations.warm_up()
    sample.decode_here()
    clean.load_encoders()
    # A picture with strokes, so that what is found is read too.
    picture = np.zeros((64, 192), np.uint8)
    picture[24:40, 20:170:6] = 255
    detect.find_text(picture, ("Nobody",))
    detect.is_readable(picture, Box(10, 20, 180, 44))
    slice_ = next(iter(ct_head(slices=2)))
    for name in PRESETS:
        cleaned = deidentified(slice_, preset(name), Mapper(bytes(16)), pixel_cleaner=cleaner.supervised())
        known = verify.known_of_files([slice_], preset(name))
        list(verify.scan_file(cleaned.data, "", known))
