"""Drops the files of forms unread: none of our forms takes any (CONTROLS UPL-01).

This is the installation's only upload handler (settings.FILE_UPLOAD_HANDLERS). Files come by STOW-RS and tus, straight
into encrypted quarantine; Django's own handlers would write whatever a stranger sends to a temporary file first.
"""

from __future__ import annotations

from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile


class DroppingUploadHandler(FileUploadHandler):
    """Takes nothing."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Skip the file."""
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep nothing of it."""

    def file_complete(self, file_size: int) -> None:
        """Say that there is no file."""
