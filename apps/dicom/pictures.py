"""Photographs that are no DICOM: checked whole, and kept without what the camera wrote beside the picture.

A phone notes where and when a picture was taken, whose phone it was, and often keeps a small copy from before it was
cut. None of that is needed to look at a wound, so only the picture is kept: its pixels untouched, its colour profile,
and which way is up. What stands behind its end (a second file, with which a picture is two things at once) goes, too.
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

from PIL import Image, ImageOps

from .errors import Code, RejectedError

MAX_PIXELS: Final = 200_000_000
_FORMATS: Final = {b"\xff\xd8\xff": ("JPEG", "image/jpeg"), b"\x89PNG\r\n\x1a\n": ("PNG", "image/png")}
_ORIENTATION: Final = 0x0112
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# PNG section 5.6: the pixels, and what changes how they look; not text, times, EXIF or further pictures.
_PNG_CHUNKS: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"pHYs"}
)


def check(content: bytes) -> str:
    """Return the media type of a picture that decodes whole.

    Raises `RejectedError`: `undecodable`, `too-many-pixels`.
    """
    kinds = [kind for signature, kind in _FORMATS.items() if content.startswith(signature)]
    if not kinds:
        raise RejectedError(Code.UNDECODABLE)
    name, media_type = kinds[0]
    try:
        with Image.open(io.BytesIO(content), formats=[name]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RejectedError(Code.TOO_MANY_PIXELS)
            image.load()
    except RejectedError:
        raise
    except Image.DecompressionBombError as error:
        raise RejectedError(Code.TOO_MANY_PIXELS) from error
    except Exception as error:
        # Pillow raises almost anything on damaged input.
        raise RejectedError(Code.UNDECODABLE) from error
    return media_type


def small(content: bytes, size: int) -> bytes:
    """Return an upright JPEG of the picture, at most ``size`` pixels a side; raises `RejectedError` (`undecodable`)."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RejectedError(Code.TOO_MANY_PIXELS)
            image.draft("RGB", (size, size))
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((size, size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RejectedError(Code.UNDECODABLE) from error
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=85)
    return out.getvalue()


def without_notes(content: bytes) -> bytes:
    """Return the same picture, its pixels unchanged, with nothing beside it; raises `RejectedError` (`undecodable`)."""
    try:
        if content.startswith(_PNG_SIGNATURE):
            return _PNG_SIGNATURE + b"".join(_png_chunks(content))
        return b"\xff\xd8" + _orientation(content) + b"".join(_jpeg_segments(content))
    except (struct.error, IndexError) as error:
        raise RejectedError(Code.UNDECODABLE) from error


def _png_chunks(content: bytes) -> Iterator[bytes]:
    at = len(_PNG_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise RejectedError(Code.UNDECODABLE)
        if kind in _PNG_CHUNKS:
            yield content[at:end]
        if kind == b"IEND":
            return
        at = end


def _jpeg_segments(content: bytes) -> Iterator[bytes]:
    """Yield the segments that the picture needs, its scans among them, to its end (ISO/IEC 10918-1 annex B)."""
    at = 2
    while True:
        if content[at] != 0xFF:
            raise RejectedError(Code.UNDECODABLE)
        while content[at + 1] == 0xFF:
            at += 1
        marker = content[at + 1]
        if marker == 0xD9:
            yield b"\xff\xd9"
            return
        if 0xD0 <= marker <= 0xD7 or marker == 0x01:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        segment = content[at:end]
        if len(segment) != length + 2:
            raise RejectedError(Code.UNDECODABLE)
        if marker == 0xDA:
            end = _end_of_scan(content, end)
            yield content[at:end]
        elif _is_needed(marker, segment[4:]):
            yield segment
        at = end


def _end_of_scan(content: bytes, at: int) -> int:
    """Return where the next marker stands behind entropy-coded data: stuffed bytes and restarts belong to the scan."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0:
            raise RejectedError(Code.UNDECODABLE)
        follower = content[at + 1]
        if follower not in (0x00, 0xFF) and not 0xD0 <= follower <= 0xD7:
            return at
        at += 1 if follower == 0xFF else 2


def _is_needed(marker: int, data: bytes) -> bool:
    """Say whether a decoder needs the segment: not the notes of cameras and programs (APPn, COM)."""
    if marker == 0xFE:
        return False
    if 0xE0 <= marker <= 0xEF:
        return data.startswith((b"JFIF\0", b"ICC_PROFILE\0", b"Adobe"))
    return True


def _orientation(content: bytes) -> bytes:
    """Return an EXIF segment that says which way is up and nothing else; nothing when the picture stands upright."""
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        turned = image.getexif().get(_ORIENTATION, 1)
    if not isinstance(turned, int) or not 2 <= turned <= 8:
        return b""
    exif = Image.Exif()
    exif[_ORIENTATION] = turned
    data = exif.tobytes()
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
