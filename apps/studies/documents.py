"""Clinical documents of a study: taken only when they are what they claim to be, and never shown inside a page."""

from __future__ import annotations

import io
import re
import unicodedata
from typing import BinaryIO, Final

from django.utils.translation import gettext as _
from PIL import Image

from apps.studies.errors import DocumentRefusedError

MAX_BYTES: Final = 50 << 20
MAX_PIXELS: Final = 200_000_000
TITLE_LENGTH: Final = 200
MEDIA_TYPES: Final = {"application/pdf": "pdf", "image/jpeg": "jpg", "image/png": "png"}
_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
# ISO 32000-1 7.5.5: the end marker stands in the last bytes; editors leave some of their own behind it.
_PDF_TAIL_BYTES: Final = 2048
_UNSAFE_IN_TITLES: Final = re.compile(r"[\\/:*?\"<>|]")


def check_document(file: BinaryIO) -> str:
    """Return the media type of a document; the file is read whole.

    Raises DocumentRefusedError for anything but a whole PDF, JPEG or PNG of at most 50 MB.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DocumentRefusedError(_("A document may have at most 50 MB."))
    return recognise(content)


def recognise(content: bytes) -> str:
    """Return the media type of a document by its content; raises DocumentRefusedError."""
    if content.startswith(b"%PDF-"):
        if b"%%EOF" not in content[-_PDF_TAIL_BYTES:]:
            raise DocumentRefusedError(_("This PDF is cut short or has something else behind it."))
        return "application/pdf"
    if content.startswith(b"\xff\xd8\xff"):
        return _checked_image(content, "image/jpeg")
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _checked_image(content, "image/png")
    raise DocumentRefusedError


def _checked_image(content: bytes, media_type: str) -> str:
    """Return the media type if the picture decodes whole and nothing of size stands behind its end."""
    try:
        with Image.open(io.BytesIO(content), formats=[_FORMATS[media_type]]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DocumentRefusedError(_("This picture has too many pixels."))
            image.load()
    except DocumentRefusedError:
        raise
    except Exception as error:
        # Pillow raises almost anything on damaged input.
        raise DocumentRefusedError(_("This picture is damaged.")) from error
    return media_type


def title_of(name: str) -> str:
    """Return what a file was called as a title: one line, no path, no control characters, no ending."""
    last = re.split(r"[\\/]", name)[-1]
    visible = "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in last)
    stem = re.sub(r"\.(pdf|jpe?g|png)$", "", visible.strip(), flags=re.IGNORECASE)
    title = " ".join(_UNSAFE_IN_TITLES.sub(" ", stem).split()).strip(". ")
    return title[:TITLE_LENGTH] or _("Document")
