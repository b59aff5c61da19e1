"""Write over a picture for whom it was made, and when."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
_QUALITY: Final = 90
_OPACITY: Final = 84
# Of the shorter side; small enough to read what lies below, large enough not to be cut off.
_LETTER_SHARE: Final = 0.035
_SMALLEST_LETTER: Final = 10


def mark(picture: bytes, text: str, media_type: str = "image/jpeg") -> bytes:
    """Return the picture with the text slanted across it again and again; unchanged for an empty text."""
    if not text:
        return picture
    with Image.open(io.BytesIO(picture), formats=["JPEG", "PNG"]) as opened:
        image = opened.convert("RGB")
    image.paste(*_laid_over(image.size, text))
    out = io.BytesIO()
    image.save(out, _FORMATS[media_type], **({"quality": _QUALITY} if media_type == "image/jpeg" else {}))
    return out.getvalue()


def _laid_over(size: tuple[int, int], text: str) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    mask = _mask(size, text)
    grey = Image.new("RGB", size, (160, 160, 160))
    return grey, (0, 0), mask


@lru_cache(maxsize=8)
def _mask(size: tuple[int, int], text: str) -> Image.Image:
    """Return how strongly the text shows at each place; the pictures of a film share it."""
    width, height = size
    letter = max(_SMALLEST_LETTER, int(min(size) * _LETTER_SHARE))
    font = ImageFont.load_default(letter)
    side = width + height
    sheet = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(sheet)
    length = int(draw.textlength(text, font=font)) + 3 * letter
    for row, y in enumerate(range(0, side, letter * 6)):
        for x in range(-(row % 2) * length // 2, side, length):
            draw.text((x, y), text, fill=_OPACITY, font=font)
    turned = sheet.rotate(24, resample=Image.Resampling.BILINEAR)
    left, top = (side - width) // 2, (side - height) // 2
    return turned.crop((left, top, left + width, top + height))
