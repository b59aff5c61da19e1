"""What can go wrong with stored bytes."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class StorageError(Exception):
    """Base of all: carries a stable ``code`` and a plain sentence."""

    code = "storage"
    sentence: str | Promise = _("The storage reported a problem.")

    def __init__(self, message: str = "") -> None:
        super().__init__(message or str(self.sentence))


class CorruptBlobError(StorageError):
    """The stored bytes are not those that were written. None of the affected bytes is given out."""

    code = "corrupt-blob"
    sentence = _("The stored bytes are damaged or were tampered with.")


class BlobMissingError(StorageError):
    """The row is there, the bytes are not."""

    code = "blob-missing"
    sentence = _("The stored bytes are missing.")


class BlobDestroyedError(StorageError):
    """The blob was destroyed; its key is gone."""

    code = "blob-destroyed"
    sentence = _("These bytes were destroyed.")


class BlobExistsError(StorageError):
    """A place already holds something under this name; nothing is ever overwritten."""

    code = "blob-exists"
    sentence = _("Something is already stored under this name.")


class PlaceUnavailableError(StorageError):
    """The disk or the S3 service does not answer as it should. Trying again later may help."""

    code = "storage-unavailable"
    sentence = _("The storage is not available at the moment.")


class PlaceFullError(PlaceUnavailableError):
    """No space left."""

    code = "storage-full"
    sentence = _("The storage is full.")
