"""Where each frame's bytes lie in a Part 10 file, so that one frame is read without the rest.

Native pixel data (PS3.5 8.1) is a block of equal frames; encapsulated pixel data (PS3.5 A.4) is a chain
of items, one or more to a frame. The index also keeps the few attributes that decoding needs, so that a
frame can be decoded from the index and a seekable file alone.
"""

import itertools
import json
import struct
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO, Final

from .errors import Code, FrameError, RejectedError

MAX_FRAGMENTS: Final = 500_000
MAX_FRAMES: Final = 500_000
MAX_FRAME_BYTES: Final = 512 << 20
"""Largest decoded frame, for example 16,384 x 16,384 at 16 bits."""

_MAGIC: Final = b"PIX1"
_MAX_STORED_BYTES: Final = 64 << 20
_ITEM: Final = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_ITEM_HEAD: Final = struct.Struct("<4sI")
# A fragment that starts like this starts a frame: JPEG family SOI, JPEG 2000 SOC + SIZ.
_FRAME_STARTS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")


class Layout(StrEnum):
    """How the pixel data lies in the file."""

    NATIVE = "native"
    """Frames of equal length in a row; little endian, as in the answer to a retrieve request."""
    SWAPPED = "swapped"
    """Native, but big endian: the range of a frame is known, its bytes must be swapped."""
    PACKED = "packed"
    """Native, one bit a pixel, and frames that do not start on a byte (PS3.5 8.1.1): bits must be cut out."""
    ENCAPSULATED = "encapsulated"
    """Compressed: a frame is the concatenation of its fragments."""
    STREAM = "stream"
    """Compressed, all fragments are one stream of all frames: MPEG-2, H.264, H.265, SMPTE 2110."""
    UNMAPPED = "unmapped"
    """Compressed, but which fragment belongs to which frame cannot be told."""
    DEFLATED = "deflated"
    """The whole data set is deflated: it must be inflated before a frame can be found."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The Image Pixel attributes (PS3.3 C.7.6.3) that decoding needs."""

    rows: int
    columns: int
    samples_per_pixel: int = 1
    bits_allocated: int = 8
    bits_stored: int = 8
    pixel_representation: int = 0
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    is_float: bool = False

    @property
    def frame_bits(self) -> int:
        """Length of a native frame in bits. YBR_FULL_422 holds two samples a pixel (PS3.3 C.7.6.3.1.2)."""
        samples = self.samples_per_pixel
        if self.photometric_interpretation == "YBR_FULL_422" and samples == 3:
            samples = 2
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def decoded_frame_bytes(self) -> int:
        """Length of a decoded frame in bytes, every sample on whole bytes."""
        return self.rows * self.columns * self.samples_per_pixel * max(1, self.bits_allocated // 8)


@dataclass(frozen=True, slots=True)
class PixelIndex:
    """Where the frames of one instance are. Offsets count from the start of the file.

    ``offset`` and ``length`` delimit the whole value; fragments lie within it, each after an 8-byte item head.
    ``frame_starts`` has one entry per frame, the number of its first fragment, and one more for the end.
    """

    tag: int
    vr: str
    transfer_syntax_uid: str
    layout: Layout
    number_of_frames: int
    offset: int
    length: int
    format: PixelFormat
    fragment_offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    fragment_lengths: "array[int]" = field(default_factory=lambda: array("I"))
    frame_starts: "array[int]" = field(default_factory=lambda: array("I"))
    stored: bytes = field(default=b"", init=False, compare=False, repr=False)
    """What it was read from by ``from_bytes``, so that nobody packs it once more."""

    @property
    def is_direct(self) -> bool:
        """Whether the ranges of a frame are, byte for byte, the frame in its transfer syntax (little endian)."""
        return self.layout in (Layout.NATIVE, Layout.ENCAPSULATED)

    @property
    def is_encapsulated(self) -> bool:
        """Whether the pixel data is compressed."""
        return self.layout in (Layout.ENCAPSULATED, Layout.STREAM, Layout.UNMAPPED)

    @property
    def frame_bytes(self) -> int:
        """Length of a native frame in bytes, rounded up."""
        return (self.format.frame_bits + 7) // 8

    def to_bytes(self) -> bytes:
        """Return a compact form for storing beside the instance. ``from_bytes`` reads it."""
        if self.stored:
            return self.stored
        head = {
            "tag": self.tag,
            "vr": self.vr,
            "ts": self.transfer_syntax_uid,
            "layout": str(self.layout),
            "frames": self.number_of_frames,
            "offset": self.offset,
            "length": self.length,
            "format": {name: getattr(self.format, name) for name in PixelFormat.__slots__},
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        lengths = struct.pack(f"<{len(self.fragment_lengths)}I", *self.fragment_lengths)
        starts = struct.pack(f"<{len(self.frame_starts)}I", *self.frame_starts)
        first = self.fragment_offsets[0] if self.fragment_offsets else 0
        body = struct.pack("<IIIQ", len(text), len(self.fragment_lengths), len(self.frame_starts), first)
        whole = body + text + lengths + starts
        # For a few hundred bytes a small window does, which takes a tenth of the time to set up.
        packer = zlib.compressobj(6, wbits=10, memLevel=1) if len(whole) < 1024 else zlib.compressobj(6)
        return _MAGIC + packer.compress(whole) + packer.flush()

    @classmethod
    def from_bytes(cls, data: bytes) -> "PixelIndex":
        """Read what ``to_bytes`` wrote; ``FrameError`` (``bad-index``) when it is something else."""
        if data[:4] != _MAGIC:
            raise FrameError(Code.BAD_INDEX)
        try:
            inflater = zlib.decompressobj()
            body = inflater.decompress(data[4:], _MAX_STORED_BYTES)
            text_length, fragment_count, start_count, first = struct.unpack_from("<IIIQ", body)
            at = struct.calcsize("<IIIQ")
            head: dict[str, Any] = json.loads(body[at : at + text_length])
            at += text_length
            lengths = array("I", struct.unpack_from(f"<{fragment_count}I", body, at))
            starts = array("I", struct.unpack_from(f"<{start_count}I", body, at + 4 * fragment_count))
            index = cls(
                tag=head["tag"],
                vr=head["vr"],
                transfer_syntax_uid=head["ts"],
                layout=Layout(head["layout"]),
                number_of_frames=head["frames"],
                offset=head["offset"],
                length=head["length"],
                format=PixelFormat(**head["format"]),
                fragment_offsets=_offsets_after(first, lengths),
                fragment_lengths=lengths,
                frame_starts=starts,
            )
            # Not copied by `dataclasses.replace`.
            object.__setattr__(index, "stored", data)
            return index
        except (zlib.error, struct.error, ValueError, KeyError, TypeError) as error:
            raise FrameError(Code.BAD_INDEX) from error


def frame_range(index: PixelIndex, n: int) -> list[tuple[int, int]]:
    """Return the ``(offset, length)`` pairs in the file whose concatenation is frame ``n``, counted from 1.

    Raises ``FrameError``: ``no-such-frame``, or ``frame-not-addressable`` where a frame is not a run of bytes
    of the file (deflated, bit-packed, video); ``decode.decode_frame`` can still give most of those.
    """
    if not 1 <= n <= index.number_of_frames:
        raise FrameError(Code.NO_SUCH_FRAME)
    if index.layout in (Layout.NATIVE, Layout.SWAPPED):
        return [(index.offset + (n - 1) * index.frame_bytes, index.frame_bytes)]
    if index.layout is Layout.ENCAPSULATED:
        first, end = index.frame_starts[n - 1], index.frame_starts[n]
        return [(index.fragment_offsets[i], index.fragment_lengths[i]) for i in range(first, end)]
    raise FrameError(Code.FRAME_NOT_ADDRESSABLE)


def stream_range(index: PixelIndex) -> list[tuple[int, int]]:
    """Return the ranges of all fragments: the whole stream of a video (or of an unmapped instance)."""
    if not index.is_encapsulated:
        raise FrameError(Code.FRAME_NOT_ADDRESSABLE)
    return list(zip(index.fragment_offsets, index.fragment_lengths, strict=True))


def read_ranges(file: BinaryIO, ranges: list[tuple[int, int]]) -> bytes:
    """Read and join byte ranges of a file; ``RejectedError`` (``truncated``) when it ends before them."""
    parts: list[bytes] = []
    for offset, length in ranges:
        file.seek(offset)
        part = file.read(length)
        if len(part) != length:
            raise RejectedError(Code.TRUNCATED)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def native_index(
    *,
    tag: int,
    vr: str,
    transfer_syntax_uid: str,
    is_little_endian: bool,
    declared_frames: int,
    offset: int,
    length: int,
    pixel_format: PixelFormat,
) -> PixelIndex:
    """Index uncompressed pixel data of ``length`` bytes at ``offset``.

    A file with fewer frames than it declares (a stopped acquisition) has as many as are there.
    """
    frame_bits = pixel_format.frame_bits
    held = min(declared_frames, length * 8 // frame_bits) if frame_bits else 0
    layout = Layout.NATIVE if is_little_endian else Layout.SWAPPED
    if frame_bits % 8:
        layout = Layout.PACKED
        # A single packed frame is whole bytes already, padded at its end.
        if held == 1:
            layout = Layout.NATIVE
    if pixel_format.bits_allocated <= 8 and vr == "OB" and layout is Layout.SWAPPED:
        layout = Layout.NATIVE
    return PixelIndex(tag, vr, transfer_syntax_uid, layout, held, offset, length, pixel_format)


def deflated_index(
    *, tag: int, vr: str, transfer_syntax_uid: str, declared_frames: int, pixel_format: PixelFormat
) -> PixelIndex:
    """Index pixel data that only exists after inflating the data set."""
    return PixelIndex(tag, vr, transfer_syntax_uid, Layout.DEFLATED, declared_frames, 0, 0, pixel_format)


def encapsulated_index(
    file: BinaryIO,
    *,
    tag: int,
    vr: str,
    transfer_syntax_uid: str,
    declared_frames: int,
    offset: int,
    file_size: int,
    pixel_format: PixelFormat,
    extended_offsets: bytes,
    is_video: bool,
) -> PixelIndex:
    """Walk the items of encapsulated pixel data whose value starts at ``offset``, reading only their heads.

    Leaves the file behind the sequence delimiter. Raises ``RejectedError``: ``truncated``, ``malformed`` or
    ``too-many-elements``.
    """
    table, offsets, lengths, end = _walk_items(file, offset, file_size)
    layout = Layout.ENCAPSULATED
    frames = declared_frames
    if is_video:
        layout, starts = Layout.STREAM, [0, len(offsets)]
    else:
        tables = (_table_entries(extended_offsets, "Q"), _table_entries(table, "I"))
        found = _starts_by_table(tables, declared_frames, offsets) or _starts_by_count(declared_frames, len(offsets))
        found = found or _starts_by_looking(file, declared_frames, offsets)
        if found is None:
            layout, starts = Layout.UNMAPPED, [0, len(offsets)]
        else:
            starts, frames = found, len(found) - 1
    return PixelIndex(
        tag,
        vr,
        transfer_syntax_uid,
        layout,
        frames,
        offset,
        end - offset,
        pixel_format,
        fragment_offsets=array("Q", offsets),
        fragment_lengths=array("I", lengths),
        frame_starts=array("I", starts),
    )


def _walk_items(file: BinaryIO, offset: int, file_size: int) -> tuple[bytes, list[int], list[int], int]:
    file.seek(offset)
    table: bytes | None = None
    offsets: list[int] = []
    lengths: list[int] = []
    at = offset
    while True:
        head = file.read(8)
        if len(head) < 8:
            # Some writers leave the delimiter out; nothing is lost as long as the last item is whole.
            if table is None or not offsets or head.strip(b"\0"):
                raise RejectedError(Code.TRUNCATED)
            break
        item, length = _ITEM_HEAD.unpack(head)
        at += 8
        if item == _SEQUENCE_DELIMITER:
            break
        if item != _ITEM:
            raise RejectedError(Code.MALFORMED)
        if at + length > file_size:
            raise RejectedError(Code.TRUNCATED)
        if table is None:
            if length > 8 * MAX_FRAMES:
                raise RejectedError(Code.TOO_MANY_ELEMENTS)
            table = file.read(length)
        else:
            if len(offsets) >= MAX_FRAGMENTS:
                raise RejectedError(Code.TOO_MANY_ELEMENTS)
            offsets.append(at)
            lengths.append(length)
            file.seek(length, 1)
        at += length
    return table or b"", offsets, lengths, at


def _table_entries(table: bytes, code: str) -> list[int]:
    count = len(table) // struct.calcsize(f"<{code}")
    return list(struct.unpack_from(f"<{count}{code}", table))


def _starts_by_table(tables: Iterable[list[int]], declared_frames: int, offsets: list[int]) -> list[int] | None:
    """Take the frames from an offset table, if each entry is the head of a fragment and they ascend.

    Entries count from the head of the first fragment (PS3.5 A.4). Tables that writers left wrong are common.
    """
    by_head = {place - offsets[0]: number for number, place in enumerate(offsets)} if offsets else {}
    for entries in tables:
        if len(entries) != declared_frames or not by_head or entries[0] != 0:
            continue
        starts = [by_head.get(entry, -1) for entry in entries]
        if all(earlier < later for earlier, later in itertools.pairwise(starts)):
            return [*starts, len(offsets)]
    return None


def _starts_by_count(declared_frames: int, count: int) -> list[int] | None:
    if count == 0:
        return [0]
    if declared_frames <= 1:
        return [0, count]
    if count <= declared_frames:
        # Fewer fragments than frames: an acquisition that was stopped. There are as many as are there.
        return list(range(count + 1))
    return None


def _starts_by_looking(file: BinaryIO, declared_frames: int, offsets: list[int]) -> list[int] | None:
    starts: list[int] = []
    for number, place in enumerate(offsets):
        file.seek(place)
        if file.read(4).startswith(_FRAME_STARTS):
            starts.append(number)
    return [*starts, len(offsets)] if len(starts) == declared_frames and starts[0] == 0 else None


def _offsets_after(first: int, lengths: "array[int]") -> "array[int]":
    offsets = array("Q")
    at = first
    for length in lengths:
        offsets.append(at)
        at += length + 8
    return offsets
