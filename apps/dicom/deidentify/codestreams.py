"""Comments, thumbnails and left-overs inside compressed frames, emptied in place.

A JPEG file can carry comments and application segments, JPEG 2000 and HTJ2K comments, all of them bytes behind their
end; RLE has unused offsets and gaps. What is no part of the image is overwritten with zeros and never moved, so that
offsets stay true and the pixels are, bit for bit, what they were. What cannot be walked to its end raises
``NeedsReviewError``: it cannot be vouched for.
"""

import itertools
import re
import struct
import zlib
from typing import Final

from .codec import Bytes, Fragments
from .errors import NeedsReviewError, Reason

_RLE: Final = "1.2.840.10008.1.2.5"
_DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
_ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
_JPEG_XL: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))

_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
# In entropy-coded data FF is followed by 00 (T.81 B.1.1.5), in JPEG-LS by a byte below 80 (T.87 annex A).
_NEXT_MARKER: Final = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_NEXT_MARKER_LS: Final = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JP2_START: Final = b"\x00\x00\x00\x0cjP  "
_JP2_KEPT: Final = frozenset({b"jP  ", b"ftyp", b"jp2h", b"jp2c"})
_JP2H_KEPT: Final = frozenset({b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"})
_JXL_CONTAINER: Final = b"\x00\x00\x00\x0cJXL "
_JXL_KEPT: Final = frozenset({b"JXL ", b"ftyp", b"jxlc", b"jxlp", b"jxll", b"jxli", b"jbrd"})


def clean_fragments(
    value: Fragments, transfer_syntax_uid: str, *, number_of_frames: int, pixels_per_frame: int
) -> tuple[Fragments, int]:
    """Return the fragments with everything emptied that is no image, and how many places that was.

    ``pixels_per_frame`` (rows times columns) tells where an RLE segment ends. Lengths do not change.
    """
    frames = _frames(value, number_of_frames)
    parts: list[Bytes] = []
    found = 0
    for frame in frames:
        data = bytes(frame[0]) if len(frame) == 1 else b"".join(frame)
        cleaned, count = clean_frame(data, transfer_syntax_uid, pixels_per_frame)
        found += count
        if not count:
            parts += frame
            continue
        at = 0
        for part in frame:
            parts.append(cleaned[at : at + len(part)])
            at += len(part)
    table, is_changed = _table(value, parts, frames)
    return Fragments(table, parts), found + is_changed


def _frames(value: Fragments, number_of_frames: int) -> list[list[Bytes]]:
    """Group fragments into frames: by the offset table, by count, or by how they begin."""
    parts = value.parts
    if number_of_frames <= 1:
        return [list(parts)] if parts else []
    if len(parts) <= number_of_frames:
        return [[part] for part in parts]
    offsets = struct.unpack(f"<{len(value.table) // 4}I", bytes(value.table)[: len(value.table) // 4 * 4])
    starts: dict[int, int] = {}
    at = 0
    for number, part in enumerate(parts):
        starts[at] = number
        at += len(part) + 8
    if len(offsets) == number_of_frames and all(offset in starts for offset in offsets):
        firsts = [starts[offset] for offset in offsets]
    else:
        firsts = [
            n for n, part in enumerate(parts) if bytes(part[:3]) == b"\xff\xd8\xff" or bytes(part[:4]) == _J2K_START
        ]
    if not firsts or firsts[0] != 0 or firsts != sorted(set(firsts)):
        raise NeedsReviewError(Reason.UNREADABLE_CODESTREAM)
    ends = [*firsts[1:], len(parts)]
    return [list(parts[first:end]) for first, end in zip(firsts, ends, strict=True)]


def _table(value: Fragments, parts: list[Bytes], frames: list[list[Bytes]]) -> tuple[bytes, int]:
    """Return an offset table that holds offsets and nothing else."""
    if not len(value.table):
        return b"", 0
    offsets, at = [], 0
    for frame in frames:
        offsets.append(at)
        at += sum(len(part) + (len(part) & 1) + 8 for part in frame)
    made = struct.pack(f"<{len(offsets)}I", *offsets) if at < 1 << 32 else b""
    return made, int(made != bytes(value.table))


def clean_frame(data: bytes, transfer_syntax_uid: str, pixels_per_frame: int) -> tuple[bytes, int]:
    """Empty what is no image in one frame. Raises ``NeedsReviewError`` where it cannot be told."""
    try:
        if transfer_syntax_uid == _RLE:
            return _clean_rle(data, pixels_per_frame)
        if transfer_syntax_uid == _DEFLATED_FRAMES:
            return _clean_deflated(data)
        if transfer_syntax_uid == _ENCAPSULATED_UNCOMPRESSED:
            return data, 0
        if data.startswith(b"\xff\xd8"):
            return _clean_jpeg(data)
        if data.startswith(_J2K_START):
            return _clean_jpeg_2000(data, 0, len(data))
        if data.startswith(_JP2_START):
            return _clean_boxes(data, _JP2_KEPT)
        if transfer_syntax_uid in _JPEG_XL:
            return _clean_boxes(data, _JXL_KEPT) if data.startswith(_JXL_CONTAINER) else (data, 0)
    except (struct.error, IndexError, zlib.error) as error:
        raise NeedsReviewError(Reason.UNREADABLE_CODESTREAM) from error
    if not data.strip(b"\0"):
        return data, 0
    raise NeedsReviewError(Reason.UNREADABLE_CODESTREAM)


class _Blank:
    """Bytes of which spans are overwritten with zeros; copies only when there is something to overwrite."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.copy: bytearray | None = None
        self.count = 0

    def span(self, start: int, end: int) -> None:
        if start >= end or not self.data[start:end].strip(b"\0"):
            return
        if self.copy is None:
            self.copy = bytearray(self.data)
        self.copy[start:end] = bytes(end - start)
        self.count += 1

    def result(self) -> tuple[bytes, int]:
        return (self.data if self.copy is None else bytes(self.copy)), self.count


def _clean_jpeg(data: bytes) -> tuple[bytes, int]:
    """ITU-T T.81 annex B and T.87 annex C: comments, application segments, what follows the end of the image."""
    blank = _Blank(data)
    size = len(data)
    at = 2
    is_ls = False
    while True:
        if data[at] != 0xFF:
            raise IndexError
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        at += 2
        if marker == 0xD9:
            break
        if marker in _STANDALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > size:
            raise IndexError
        if marker == 0xF7:
            is_ls = True
        _clean_segment(blank, marker, at + 2, at + length)
        at += length
        if marker == 0xDA:
            found = (_NEXT_MARKER_LS if is_ls else _NEXT_MARKER).search(data, at)
            if found is None:
                # The end of the image is missing: what is there belongs to the scan.
                return blank.result()
            at = found.end() - 2
    blank.span(at, size)
    return blank.result()


def _clean_segment(blank: _Blank, marker: int, start: int, end: int) -> None:
    data = blank.data
    if marker == 0xFE or 0xF0 <= marker <= 0xF6 or 0xF9 <= marker <= 0xFD:
        blank.span(start, end)
    elif marker == 0xE0 and data[start : start + 5] == b"JFIF\0":
        # Version, density and thumbnail; the last is a picture of its own.
        if end - start >= 14 and data[start + 12 : start + 14] != b"\0\0":
            blank.span(start + 12, end)
        else:
            blank.span(start + 14, end)
    elif marker == 0xEE and data[start : start + 5] == b"Adobe" and end - start >= 12:
        # The last byte tells decoders the colour transform.
        blank.span(start + 5, start + 11)
        blank.span(start + 12, end)
    elif marker == 0xE8 and data[start : start + 4] == b"mrfx" and end - start == 5:
        # The colour transform of JPEG-LS as some codecs write it.
        return
    elif 0xE0 <= marker <= 0xEF:
        blank.span(start, end)


def _clean_jpeg_2000(data: bytes, start: int, end: int) -> tuple[bytes, int]:
    """ISO/IEC 15444-1 annex A: comments in the main and in tile-part headers, what follows the end."""
    blank = _Blank(data)
    _walk_jpeg_2000(blank, start, end)
    return blank.result()


def _walk_jpeg_2000(blank: _Blank, start: int, end: int) -> None:
    data = blank.data
    at = start + 2
    tile_start, tile_length = 0, 0
    while at + 2 <= end:
        marker = data[at] << 8 | data[at + 1]
        if marker == 0xFFD9:
            blank.span(at + 2, end)
            return
        if marker == 0xFF93:
            # Start of data: the rest of the tile part is packets.
            if tile_length == 0:
                tail = data.rfind(b"\xff\xd9", at, end)
                at = tail if tail >= 0 else end
            else:
                at = tile_start + tile_length
            if at > end:
                return
            continue
        if marker < 0xFF00:
            raise IndexError
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > end:
            raise IndexError
        if marker == 0xFF90:
            tile_start = at
            (tile_length,) = struct.unpack_from(">I", data, at + 6)
        elif marker == 0xFF64:
            # Registration (binary or Latin) stays, the text goes.
            blank.span(at + 6, at + 2 + length)
        at += 2 + length


def _clean_boxes(data: bytes, kept: frozenset[bytes]) -> tuple[bytes, int]:
    """ISO/IEC 15444-1 annex I and 18181-2: boxes around a codestream; unknown ones, XML and UUID go."""
    blank = _Blank(data)
    _walk_boxes(blank, 0, len(data), kept)
    return blank.result()


def _walk_boxes(blank: _Blank, at: int, end: int, kept: frozenset[bytes]) -> None:
    data = blank.data
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif length == 0:
            length = end - at
        if length < head or at + length > end:
            blank.span(at, end)
            return
        if kind not in kept:
            blank.span(at + head, at + length)
        elif kind == b"jp2h":
            _walk_boxes(blank, at + head, at + length, _JP2H_KEPT)
        elif kind == b"jp2c":
            _walk_jpeg_2000(blank, at + head, at + length)
        elif kind == b"colr" and data[at + head] == 2:
            _blank_icc(blank, at + head + 3, at + length)
        at += length
    blank.span(at, end)


def _clean_deflated(data: bytes) -> tuple[bytes, int]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = data
    while rest and not inflater.eof:
        inflater.decompress(rest, 1 << 20)
        rest = inflater.unconsumed_tail
    blank = _Blank(data)
    blank.span(len(data) - len(inflater.unused_data), len(data))
    return blank.result()


def _clean_rle(data: bytes, pixels: int) -> tuple[bytes, int]:
    """PS3.5 annex G: unused offsets, and what lies between and behind the segments."""
    (count,) = struct.unpack_from("<I", data)
    if not 0 < count <= 15 or len(data) < 64:
        raise IndexError
    offsets = struct.unpack_from(f"<{count}I", data, 4)
    blank = _Blank(data)
    blank.span(4 + 4 * count, 64)
    if offsets[0] < 64 or any(first >= second for first, second in itertools.pairwise(offsets)):
        raise IndexError
    blank.span(64, offsets[0])
    for start, end in zip(offsets, (*offsets[1:], len(data)), strict=True):
        blank.span(_end_of_segment(data, start, min(end, len(data)), pixels), end)
    return blank.result()


def _end_of_segment(data: bytes, at: int, end: int, pixels: int) -> int:
    """Return where the PackBits runs of a segment have given all its bytes."""
    left = pixels
    while left > 0 and at < end:
        code = data[at]
        if code < 128:
            at += code + 2
            left -= code + 1
        elif code > 128:
            at += 2
            left -= 257 - code
        else:
            at += 1
    return min(at, end)


# Tags of an ICC profile (ICC.1:2022 section 9) whose data is colour, and not texts, names or signatures.
_ICC_COLOURS: Final = frozenset(
    {
        *(f"{kind}{number}".encode() for kind in ("A2B", "B2A") for number in range(3)),
        *(f"{kind}{number}".encode() for kind in ("B2D", "D2B") for number in range(4)),
        *(f"{channel}{kind}".encode() for channel in "rgb" for kind in ("XYZ", "TRC")),
        b"kTRC", b"wtpt", b"bkpt", b"chad", b"chrm", b"gamt", b"lumi", b"meas", b"view", b"tech", b"pre0", b"pre1",
        b"pre2", b"rig0", b"rig2", b"cicp", b"clro", b"clrt", b"resp",
    }
)  # fmt: skip


def clean_icc(data: bytes) -> bytes | None:
    """Return an ICC profile with its texts, its dates and everything unknown emptied; None when it is none."""
    if len(data) < 132 or data[36:40] != b"acsp":
        return None
    blank = _Blank(data)
    try:
        _blank_icc(blank, 0, len(data))
    except struct.error:
        return None
    return blank.result()[0]


def _blank_icc(blank: _Blank, start: int, end: int) -> None:
    data = blank.data
    if end - start < 132:
        blank.span(start, end)
        return
    # Preferred CMM, creation date, platform's maker and model, attributes, creator, id, reserved bytes.
    for first, last in ((4, 8), (24, 36), (48, 56), (80, 128)):
        blank.span(start + first, start + last)
    (count,) = struct.unpack_from(">I", data, start + 128)
    colours: list[tuple[int, int]] = []
    texts: list[tuple[int, int]] = []
    if count > 100:
        raise struct.error
    for number in range(count):
        name, offset, length = struct.unpack_from(">4sII", data, start + 132 + 12 * number)
        first, last = start + offset, min(start + offset + length, end)
        if name in _ICC_COLOURS:
            colours.append((first, last))
        else:
            texts.append((first, last))
    at = start + 132 + 12 * count
    for first, last in sorted(colours):
        _blank_icc_gap(blank, at, first, texts)
        at = max(at, last)
    _blank_icc_gap(blank, at, end, texts)


def _blank_icc_gap(blank: _Blank, start: int, end: int, texts: list[tuple[int, int]]) -> None:
    """Empty what lies between colour data, but for the first words of text tags, which say their type."""
    heads = sorted((first, min(first + 12, last)) for first, last in texts if start <= first < end)
    at = start
    for first, last in heads:
        blank.span(at, first)
        kind = blank.data[first : first + 4]
        if kind == b"mluc":
            # Number and size of records stay; the records would point at texts that are gone, but at zeros.
            blank.span(first + 16, max(first + 16, last))
            at = max(at, first + 16)
        else:
            blank.span(first + 8, last)
            at = max(at, min(first + 8, last))
    blank.span(at, end)
