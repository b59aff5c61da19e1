"""The key of one blob, unwrapped."""

from apps.keys.errors import SealBrokenError
from apps.keys.services import unwrap_data_key
from apps.storage.errors import BlobDestroyedError, CorruptBlobError
from apps.storage.models import Blob


def data_key_of(blob: Blob) -> bytes:
    """Return a blob's 32-byte data key; raises BlobDestroyedError, CorruptBlobError or KeyUnavailableError."""
    if blob.is_destroyed or blob.wrapped_key is None:
        raise BlobDestroyedError
    try:
        return unwrap_data_key(blob.clinic_id, blob.clinic_key_id, bytes(blob.wrapped_key), blob.associated_data)
    except SealBrokenError as error:
        raise CorruptBlobError("The blob's key was damaged or belongs to another blob.") from error
