"""What a compressed frame says about its own size.

Native decoders allocate what the codestream declares, not what the data set does. A frame of 200 bytes may
declare 4 gigapixels, so it is asked before it is decoded.
"""

import struct
from dataclasses import dataclass
from typing import Final

_SOI: Final = b"\xff\xd8"
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  "
# Start of frame markers: ITU-T T.81 table B.1 (without DHT, JPG and DAC) and T.87 (JPEG-LS).
_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_STANDALONE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class CodestreamSize:
    """Size of the image a codestream declares; ``precision`` in bits a sample."""

    rows: int
    columns: int
    samples_per_pixel: int
    precision: int


def size_of(data: bytes) -> CodestreamSize | None:
    """Return what a JPEG, JPEG-LS, JPEG 2000 or HTJ2K frame declares, or None when it is none of these."""
    try:
        if data.startswith(_SOI):
            return _jpeg(data)
        if data.startswith(_J2K_START):
            return _jpeg_2000(data, 2)
        if data.startswith(_JP2_SIGNATURE):
            at = data.find(_J2K_START, 0, 64 << 10)
            return _jpeg_2000(data, at + 2) if at > 0 else None
    except (struct.error, IndexError):
        return None
    return None


def _jpeg(data: bytes) -> CodestreamSize | None:
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        at += 2
        if marker in _STANDALONE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _FRAME_MARKERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 2)
            return CodestreamSize(rows, columns, samples, precision)
        at += length
    return None


def _jpeg_2000(data: bytes, at: int) -> CodestreamSize:
    # SIZ: ISO/IEC 15444-1 A.5.1
    _, _, _, width, height, left, top, *_, samples = struct.unpack_from(">HHHIIIIIIIIH", data, at)
    (depth,) = struct.unpack_from(">B", data, at + 40)
    return CodestreamSize(height - top, width - left, samples, (depth & 0x7F) + 1)
