"""Mask, look, clean, look again: the pixel cleaner of the de-identification engine."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from apps.dicom.deidentify.errors import NeedsReviewError, Reason
from apps.dicom.deidentify.pixels import CleanedPixels, PixelJob
from apps.dicom.errors import DicomError
from apps.dicom.parse import Header

from . import detect, rules, sample
from .boxes import Box, covered, without_inner
from .clean import clean_frames, reopened

_OUTSIDE_BRIGHT: Final = 0.35
"""Strips outside the ultrasound regions with more than this part bright hold an image after all."""
_ROUNDS: Final = 3
"""So often what was cleaned is looked at again: a line may come to light in parts."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found in an instance: where to clean, and why a person should look all the same."""

    boxes: tuple[Box, ...]
    doubts: tuple[rules.Doubt, ...]


def words_of(header: Header) -> tuple[str, ...]:
    """Return what a header says of its patient and staff, as seeds for looking."""
    born = header.patient_birth_date
    words = [*header.patient_name.replace("^", " ").split(), header.dicom_patient_id, header.accession_number]
    words += header.referring_physician_name.replace("^", " ").split()
    words += [header.institution_name, born.strftime("%d.%m.%Y") if born else ""]
    return tuple(word for word in words if word)


def examine(file: BinaryIO, header: Header, words: Sequence[str] = ()) -> Examination:
    """Look at an instance; ``words`` are what its header says of the patient.

    Raises ``DicomError`` for pixels that cannot be decoded, ``NeedsReviewError`` for a video and for frames that differ
    too much from each other.
    """
    if not rules.may_hold_text(header):
        return Examination((), ())
    if header.pixels is not None and sample.is_stream(header.pixels):
        raise NeedsReviewError(Reason.VIDEO)
    columns, rows = header.columns or 0, header.rows or 0
    boxes = [box.within(columns, rows) for box in rules.device_boxes(header)]
    strips = rules.outside_regions(header)
    try:
        for view in sample.views(file, header):
            picture = view.picture
            if strips and not boxes:
                strips = _believable(strips, picture)
            boxes += detect.find_text(picture, words, view.stands)
    except sample.TooManyViewsError as error:
        raise NeedsReviewError(Reason.PIXELS_DOUBTFUL) from error
    return Examination(tuple(without_inner([*boxes, *strips])), tuple(rules.doubts(header)))


def _believable(strips: list[Box], picture: sample.Picture) -> list[Box]:
    """Return the strips, or none where they would cover an image: some devices give the wrong regions."""
    outside = detect.brightest(picture)[covered(strips, *picture.shape[:2])]
    is_image = outside.size > 0 and float((outside > 40).mean()) > _OUTSIDE_BRIGHT
    return [] if is_image else strips


@dataclass(frozen=True, slots=True)
class TextCleaner:
    """A ``PixelCleaner``.

    ``is_supervised``: there are people who look at what is doubtful, so that secondary captures, scanned documents,
    screenshots and images that declare burned-in text are left to them instead of trusting rules and detector alone.
    ``approved``: what a person decided for this instance, instead of all looking.
    """

    is_supervised: bool = False
    approved: tuple[Box, ...] | None = None

    def __call__(self, job: PixelJob) -> CleanedPixels | None:
        """Return the cleaned pixels, or None when there is nothing to clean.

        Raises ``NeedsReviewError`` for what only a person can decide, and when text can still be read after cleaning.
        """
        header = job.header
        if self.approved is not None:
            return clean_frames(sample.File(job.data), header, self.approved) if self.approved else None
        if not rules.may_hold_text(header):
            return None
        doubts = rules.doubts(header)
        if self.is_supervised and doubts:
            is_declared = rules.Doubt.BURNED_IN_DECLARED in doubts
            raise NeedsReviewError(Reason.BURNED_IN_DECLARED if is_declared else Reason.PIXELS_DOUBTFUL)
        try:
            return self._cleaned(job, header)
        except NeedsReviewError:
            raise
        except DicomError as error:
            raise NeedsReviewError(Reason.PIXELS_UNCHECKED) from error

    @staticmethod
    def _cleaned(job: PixelJob, header: Header) -> CleanedPixels | None:
        file = sample.File(job.data)
        boxes = list(examine(file, header, job.words).boxes)
        if not boxes:
            return None
        for _ in range(_ROUNDS):
            cleaned = clean_frames(file, header, boxes)
            residue = look_again(cleaned, job)
            if not residue:
                return cleaned
            boxes = without_inner([*boxes, *residue])
        raise NeedsReviewError(Reason.PIXELS_DOUBTFUL)


def look_again(cleaned: CleanedPixels, job: PixelJob) -> list[Box]:
    """Return what can still be read in cleaned frames, decoded anew: the second pass, at another scale."""
    file, header = reopened(cleaned, job.header)
    found: list[Box] = []
    for view in sample.views(file, header, source=sample.File(job.data)):
        found += detect.find_readable(view.picture, job.words)
    return without_inner(found)


def supervised(approved: Iterable[Box] | None = None) -> TextCleaner:
    """Return the cleaner for where people look at what is doubtful; ``approved`` is what one of them decided."""
    return dataclasses.replace(
        TextCleaner(is_supervised=True), approved=tuple(approved) if approved is not None else None
    )
