"""Clinical documents of a study: taken only when they are what they claim to be, and never shown inside a page."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import BinaryIO, Final

from django.utils.translation import gettext as _

from apps.dicom import limited
from apps.dicom.errors import Code, DicomError
from apps.studies.errors import DocumentRefusedError

MAX_BYTES: Final = 50 << 20
PDF: Final = "application/pdf"
TITLE_LENGTH: Final = 200
MEDIA_TYPES: Final = {"application/pdf": "pdf", "image/jpeg": "jpg", "image/png": "png"}
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
# ISO 32000-1 7.5.5: the end marker stands in the last bytes; editors leave some of their own behind it.
_PDF_TAIL_BYTES: Final = 2048
_UNSAFE_IN_TITLES: Final = re.compile(r"[\\/:*?\"<>|]")


def check_document(file: BinaryIO) -> str:
    """Return the media type of a document, by its content; pictures are decoded whole, in a limited child.

    Raises DocumentRefusedError for anything but a whole PDF, JPEG or PNG of at most 50 MB.
    """
    size = file.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise DocumentRefusedError(_("A document may have at most 50 MB."))
    file.seek(0)
    if file.read(5) == b"%PDF-":
        file.seek(max(0, size - _PDF_TAIL_BYTES))
        if b"%%EOF" not in file.read():
            raise DocumentRefusedError(_("This PDF is cut short or has something else behind it."))
        return PDF
    file.seek(0)
    if not file.read(8).startswith(_PICTURES):
        raise DocumentRefusedError
    try:
        return limited.picture_type(file)
    except DicomError as error:
        if error.code == Code.TOO_MANY_PIXELS:
            raise DocumentRefusedError(_("This picture has too many pixels.")) from error
        raise DocumentRefusedError(_("This picture is damaged.")) from error


def picture_alone(file: BinaryIO, media_type: str) -> bytes | None:
    """Return a picture without the camera's notes (place, time, device, small copies) and whatever is behind its end.

    None for what has none of these, and for a PDF, which is kept as it is. Raises DocumentRefusedError.
    """
    if media_type == PDF:
        return None
    try:
        alone = limited.picture_alone(file)
    except DicomError as error:
        raise DocumentRefusedError(_("This picture is damaged.")) from error
    return alone if len(alone) != file.seek(0, io.SEEK_END) else None


def title_of(name: str) -> str:
    """Return what a file was called as a title: one line, no path, no control characters, no ending."""
    last = re.split(r"[\\/]", name)[-1]
    visible = "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in last)
    stem = re.sub(r"\.(pdf|jpe?g|png)$", "", visible.strip(), flags=re.IGNORECASE)
    title = " ".join(_UNSAFE_IN_TITLES.sub(" ", stem).split()).strip(". ")
    return title[:TITLE_LENGTH] or _("Document")
