"""Give an instance another SOP Instance UID, and let it say so itself: when one UID names two different things."""

import datetime
import io
from typing import BinaryIO, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from .errors import Code, RejectedError

MAX_REST_BYTES: Final = 256 << 20
"""An object without pixels, or one deflated as a whole, is written anew in memory; larger ones are refused."""
MODIFYING_SYSTEM: Final = "Viewbox"
_DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})


def reissue(file: BinaryIO, sop_instance_uid: str, *, at: datetime.datetime) -> tuple[bytes, int]:
    """Return the new beginning of the file, and the offset from which the old one goes on unchanged behind it.

    Only the UID changes, in the data set and in the file meta information; the one before stands in the Original
    Attributes Sequence (0400,0561), as PS3.3 C.12.1.1.9.2 wants it of whoever coerces an attribute. `at`: aware, when
    it was decided. The pixels are not read. Raises RejectedError (too-large, malformed).
    """
    size = file.seek(0, io.SEEK_END)
    try:
        return _reissue(file, size, sop_instance_uid, at)
    except RejectedError:
        raise
    except Exception as error:
        # pydicom raises almost anything on elements that it reads and cannot write.
        raise RejectedError(Code.MALFORMED) from error


def _reissue(file: BinaryIO, size: int, sop_instance_uid: str, at: datetime.datetime) -> tuple[bytes, int]:
    file.seek(0)
    dataset = dcmread(file, stop_before_pixels=True, force=True)
    offset = file.tell()
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise RejectedError(Code.MALFORMED)
    if syntax in _DEFLATED:
        # Deflated as one stream: nothing of it can stay as it is.
        if size > MAX_REST_BYTES:
            raise RejectedError(Code.TOO_LARGE)
        file.seek(0)
        dataset, offset = dcmread(file, force=True), size
    elif offset > MAX_REST_BYTES:
        raise RejectedError(Code.TOO_LARGE)
    _coerce(dataset, sop_instance_uid, at)
    head = io.BytesIO()
    dcmwrite(head, dataset, enforce_file_format=True)
    return head.getvalue(), offset


def _coerce(dataset: Dataset, sop_instance_uid: str, at: datetime.datetime) -> None:
    before = Dataset()
    before.SOPInstanceUID = dataset.SOPInstanceUID
    change = Dataset()
    change.ModifiedAttributesSequence = Sequence([before])
    change.AttributeModificationDateTime = at.strftime("%Y%m%d%H%M%S.%f%z")
    change.ModifyingSystem = MODIFYING_SYSTEM
    change.SourceOfPreviousValues = ""
    change.ReasonForTheAttributeModification = "COERCE"
    earlier = list(dataset.get("OriginalAttributesSequence", None) or [])
    dataset.OriginalAttributesSequence = Sequence([*earlier, change])
    dataset.SOPInstanceUID = UID(sop_instance_uid)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
