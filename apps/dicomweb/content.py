"""The bytes of instances and frames: where they lie, decoded where the client needs it, never more read than sent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import decode, limited
from apps.dicom.frames import PixelIndex, frame_range, read_ranges
from apps.dicomweb.errors import NotAcceptableError
from apps.dicomweb.negotiation import EXPLICIT_VR_LITTLE_ENDIAN, Representation, is_compressed
from apps.storage.models import Blob
from apps.storage.services import BlobReader, iterate_blob, open_blob
from apps.studies.models import Instance


def pixel_index(instance: Instance) -> PixelIndex | None:
    """Return where the frames of an instance lie, None for an object without pixels."""
    return PixelIndex.from_bytes(bytes(instance.pixel_index)) if instance.pixel_index else None


def opened(clinic: Clinic, blob: Blob) -> BlobReader:
    """Open a blob. While an answer is streamed no scope is open any more, and opening needs the clinic's key."""
    with clinic_scope(clinic):
        return open_blob(blob)


def stored_bytes(clinic: Clinic, blob: Blob, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Return an iterator over a range of a blob, also while an answer is streamed."""
    with clinic_scope(clinic):
        return iterate_blob(blob, offset, length)


def frame_bytes(
    clinic: Clinic, blob: Blob, index: PixelIndex, numbers: list[int], form: Representation
) -> Iterator[bytes]:
    """Return an iterator over frames (numbers from 1) in the negotiated form.

    As stored, only the frame's own bytes are read and decrypted. Little endian throughout (PS3.18 8.7.3.3.2). Raises
    FrameError and DecodeError of the dicom room: for the first frame before this returns, for others while iterated.
    """
    return begun(_frames(clinic, blob, index, numbers, form))


def begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Return the same iterator with its first chunk made, so that what fails at once still becomes a status code."""
    first = next(chunks, None)
    return chain([] if first is None else [first], chunks)


def _frames(clinic: Clinic, blob: Blob, index: PixelIndex, numbers: list[int], form: Representation) -> Iterator[bytes]:
    with opened(clinic, blob) as file:
        for number in numbers:
            if form.is_as_stored and index.is_direct:
                yield read_ranges(file, frame_range(index, number))
            else:
                yield limited.decode_frame(file, index, number)


def can_transcode(instance: Instance) -> bool:
    """Tell whether an instance can be sent as Explicit VR Little Endian."""
    syntax = instance.transfer_syntax_uid
    return not is_compressed(syntax) or instance.pixel_index is None or decode.can_decode(syntax)


def instance_bytes(clinic: Clinic, instance: Instance, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Yield an instance as a Part 10 file: as stored, or as Explicit VR Little Endian.

    Raises NotAcceptableError for any other change of the transfer syntax.
    """
    if transfer_syntax_uid == instance.transfer_syntax_uid:
        yield from stored_bytes(clinic, instance.blob)
    elif transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
        with opened(clinic, instance.blob) as file:
            yield limited.to_explicit_little_endian(file)
    else:
        raise NotAcceptableError("Instances are sent as stored or as Explicit VR Little Endian.")
