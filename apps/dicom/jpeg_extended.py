"""A decoder plug-in for pydicom: JPEG Extended with 12 bits, which its own plug-ins refuse."""

from typing import Any, Final

import imagecodecs
import numpy as np
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES: Final = {JPEGExtended12Bit: ("imagecodecs",)}


def is_available(uid: str) -> bool:
    """Say whether the plug-in decodes this transfer syntax. Part of pydicom's plug-in interface."""
    return uid == JPEGExtended12Bit


def decode_frame(src: bytes, runner: Any) -> bytes:
    """Return the samples of one frame, 16 bits each, as they are stored. Part of pydicom's plug-in interface."""
    decoded = imagecodecs.jpeg_decode(src, bitspersample=12 if runner.bits_stored > 8 else 8)
    return np.ascontiguousarray(decoded).tobytes()
