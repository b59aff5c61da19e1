"""Takes multipart files straight into encrypted quarantine: nothing plain is on a disk, few megabytes in memory.

This is the installation's only upload handler (settings.FILE_UPLOAD_HANDLERS). A view that takes files says so by
`accept_files` before it reads the form; everywhere else files are dropped unread (CONTROLS UPL-01).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest

from apps.clinics.models import Clinic
from apps.ingest import quarantine
from apps.ingest.errors import TooLargeError
from apps.ingest.models import QUARANTINE_KIND
from apps.ingest.quarantine import GROUP_BYTES, SMALL_BYTES, Arrival, Taken
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
    """A file that arrived: in quarantine as soon as `finish` was called, not yet anybody's."""

    def __init__(self, field_name: str, taken: Taken, size: int) -> None:
        super().__init__(name="file", size=size)  # Django drops files without any name
        self.field_name = field_name
        self.taken = taken

    @property
    def error(self) -> Exception | None:
        """Why it was not kept, if so."""
        return self.taken.error

    def release(self) -> Blob | None:
        """Hand the blob over to whoever writes its row; afterwards closing leaves it alone."""
        blob, self.taken.blob = self.taken.blob, None
        return blob

    def close(self) -> None:
        """Destroy what nobody took over: the request ended in an error."""
        blob = self.release()
        if blob is not None:
            storage.destroy([blob])


class EncryptingUploadHandler(FileUploadHandler):
    """Writes the files of a multipart request into quarantined blobs: large ones as they come, small ones together."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self._files: list[QuarantinedFile] = []
        self._small: list[Taken] = []
        self._data = bytearray()
        self._writer: storage.BlobWriter | None = None
        self._count = 0

    @property
    def _clinic(self) -> Clinic | None:
        clinic: Clinic | None = getattr(self.request, _CLINIC, None)
        return clinic

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file; without a view that takes files it is skipped."""
        super().new_file(*args, **kwargs)
        if self._clinic is None:
            raise SkipFile
        self._count = 0
        self._data.clear()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take one chunk; a file beyond the limit is thrown away at once, and the rest of it is not kept."""
        self._count += len(raw_data)
        clinic = self._clinic
        if clinic is None or self._count > settings.MAX_FILE_BYTES:
            self._drop()
        elif self._writer is not None:
            self._writer.write(raw_data)
        else:
            self._data += raw_data
            if len(self._data) > SMALL_BYTES:
                self._writer = storage.BlobWriter(clinic, QUARANTINE_KIND, quarantined=True)
                self._writer.write(self._data)
                self._data.clear()

    def file_complete(self, file_size: int) -> QuarantinedFile:
        """Make a large file durable; a small one waits for its neighbours."""
        taken = Taken(Arrival("", ()))
        file = QuarantinedFile(self.field_name or "", taken, self._count)
        self._files.append(file)
        if self._count > settings.MAX_FILE_BYTES:
            taken.error = TooLargeError()
        elif self._writer is not None:
            writer, self._writer = self._writer, None
            taken.blob = writer.commit()
        else:
            taken.data = bytes(self._data)
            self._small.append(taken)
            if sum(len(waiting.data) for waiting in self._small) > GROUP_BYTES:
                self.finish()
        return file

    def finish(self) -> None:
        """Make the small files durable, all at once."""
        small, self._small = self._small, []
        if small and self._clinic is not None:
            quarantine.write_together(self._clinic, small)
            for taken in small:
                taken.data = b""

    def discard(self) -> None:
        """Throw away whatever nobody took over, finished files and the one under way."""
        self._drop()
        self._small.clear()
        for file in self._files:
            file.close()

    def upload_interrupted(self) -> None:
        """Throw away what came of a broken request."""
        self.discard()

    def _drop(self) -> None:
        self._data.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()


def files_of(request: HttpRequest) -> list[QuarantinedFile]:
    """Receive the request's files to the end and return them, durable in quarantine, in the order of their arrival."""
    files = [file for _name, group in request.FILES.lists() for file in group if isinstance(file, QuarantinedFile)]
    for handler in _handlers(request):
        handler.finish()
    return files


def discard(request: HttpRequest) -> None:
    """Throw away whatever of this request nobody took over."""
    for handler in _handlers(request):
        handler.discard()


def _handlers(request: HttpRequest) -> list[EncryptingUploadHandler]:
    return [handler for handler in request.upload_handlers if isinstance(handler, EncryptingUploadHandler)]
