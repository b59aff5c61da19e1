"""Takes multipart files straight into encrypted quarantine: none is ever held plain, in a file or whole in memory.

This is the installation's only upload handler (settings.FILE_UPLOAD_HANDLERS). A view that takes files says so by
`accept_files` before it reads the form; everywhere else files are dropped unread (CONTROLS UPL-01).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest

from apps.clinics.models import Clinic
from apps.ingest.errors import TooLargeError
from apps.ingest.models import QUARANTINE_KIND
from apps.storage import services as storage
from apps.storage.models import Blob

if TYPE_CHECKING:
    _UploadedFile = UploadedFile[bytes]
else:
    _UploadedFile = UploadedFile

_CLINIC: Final = "_upload_clinic"


def accept_files(request: HttpRequest, clinic: Clinic) -> None:
    """Let this request bring files for `clinic`, whose scope is open; call it before `request.FILES` is read."""
    setattr(request, _CLINIC, clinic)


class QuarantinedFile(_UploadedFile):
    """A file that arrived: encrypted, in quarantine, not yet anybody's. `error` says why it was not kept instead."""

    def __init__(self, field_name: str, blob: Blob | None, size: int, error: TooLargeError | None = None) -> None:
        super().__init__(name="file", size=size)  # Django drops files without any name
        self.field_name = field_name
        self.blob = blob
        self.error = error

    def release(self) -> Blob | None:
        """Hand the blob over to whoever writes its row; afterwards closing leaves it alone."""
        blob, self.blob = self.blob, None
        return blob

    def close(self) -> None:
        """Destroy what nobody took over: the request ended in an error."""
        blob = self.release()
        if blob is not None:
            storage.destroy([blob])


class EncryptingUploadHandler(FileUploadHandler):
    """Writes each file of a multipart request into a quarantined blob, chunk by chunk."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self._writer: storage.BlobWriter | None = None
        self._count = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a blob; without a view that takes files the file is skipped."""
        super().new_file(*args, **kwargs)
        clinic = getattr(self.request, _CLINIC, None)
        if clinic is None:
            raise SkipFile
        self._count = 0
        self._writer = storage.BlobWriter(clinic, QUARANTINE_KIND, quarantined=True)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Encrypt one chunk; a file beyond the limit is thrown away at once, and the rest of it is not written."""
        self._count += len(raw_data)
        if self._writer is None:
            return
        if self._count > settings.MAX_FILE_BYTES:
            self.abort()
            return
        self._writer.write(raw_data)

    def file_complete(self, file_size: int) -> QuarantinedFile:
        """Make the blob durable."""
        field_name = self.field_name or ""
        if self._writer is None:
            return QuarantinedFile(field_name, None, self._count, TooLargeError())
        writer, self._writer = self._writer, None
        return QuarantinedFile(field_name, writer.commit(), self._count)

    def upload_interrupted(self) -> None:
        """Throw away what came of the file."""
        self.abort()

    def abort(self) -> None:
        """Throw away the file under way, if any."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()


def discard(request: HttpRequest) -> None:
    """Throw away whatever of this request nobody took over, finished files and the one under way."""
    for handler in request.upload_handlers:
        if isinstance(handler, EncryptingUploadHandler):
            handler.abort()
    # Only what is parsed already: asking for FILES after a broken line would read on.
    with suppress(AttributeError):
        for _name, files in request._files.lists():  # type: ignore[attr-defined]  # noqa: SLF001
            for file in files:
                file.close()
