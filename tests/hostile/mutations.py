"""Real files, damaged: each number gives the same damage every time, so that what it finds can be found again."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# Explicit VR heads and item heads: where structure can be damaged rather than noise added.
_ELEMENTS = re.compile(
    rb"(?s:.{4})(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OD|OF|OL|OV|OW|PN|SH|SL|SQ|SS|ST|TM|UC|UI|UL|UN|UR|US|UT|UV)"
    rb"|\xfe\xff\x00\xe0|\xfe\xff\x0d\xe0|\xfe\xff\xdd\xe0"
)
_SMALL = (0, 1, 2, 3, 7, 8, 13, 255, 256)
_LENGTHS = (*_SMALL, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 1 << 20, 1 << 28, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = (b"SQ", b"UN", b"OB", b"OW", b"PN", b"US", b"UI", b"DS", b"IS", b"AT", b"FD", b"UT", b"\0\0", b"??", b"sq")
_SPLICES = (
    *(b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xfe\xff\x0d\xe0"),
    *(b"\x1b$)A\x1b(B", b"../../etc/passwd", b"\\\\\\\\", b"<script>", b"\r\n\r\n", b"1e999", b"-1", b"^^^^===="),
    *(b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51", b"DICM", b"\xe0\x7f\x10\x00", b"\x08\x00\x05\x00"),
    *(b"\x02\x00\x10\x00", b"\xed\xa0\x80", b"%n%s", b"\0"),
)
_HEADER_BYTES = 6000


@dataclass(frozen=True)
class Source:
    """A file that is damaged, and where its structure stands."""

    name: str
    content: bytes
    places: tuple[int, ...]


def source(name: str, content: bytes) -> Source:
    """A file with the places of its elements and items, as far as they can be told."""
    return Source(name, content, tuple(match.start() for match in _ELEMENTS.finditer(content[: 64 << 10])))


def mutant(sources: Sequence[Source], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of one damaged file."""
    chance = random.Random(f"{seed} {number}")
    chosen = chance.choice(sources)
    data = bytearray(chosen.content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if len(data) < 200:
            break
        _damage(data, chosen, chance, sources)
    return chosen.name, bytes(data)


def _damage(  # noqa: C901 - one case for each kind of damage
    data: bytearray, chosen: Source, chance: random.Random, sources: Sequence[Source]
) -> None:
    near = min(len(data), _HEADER_BYTES) if chance.random() < 0.75 else len(data)
    at = chance.randrange(128 if chance.random() < 0.98 else 0, near)
    place = chance.choice(chosen.places) if chosen.places else at
    # Room for the head of an element, wherever it is.
    place = min(place if place + 16 < len(data) else at, len(data) - 16)
    match chance.randrange(14):
        case 0 | 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            data[at] = chance.randrange(256)
        case 3:
            splice = chance.choice(_SPLICES)
            data[at : at + len(splice)] = splice
        case 4:
            data[at:at] = chance.choice(_SPLICES)
        case 5:
            del data[at : at + chance.choice((1, 2, 4, 8, 30, 300))]
        case 6:
            piece = data[at : at + chance.choice((4, 8, 40, 400))]
            data[at:at] = piece * chance.choice((1, 2, 50))
        case 7:
            del data[chance.randrange(1, len(data)) :]
        case 8:
            # The length of an element or item: short form, long form.
            where = place + chance.choice((4, 6, 8))
            code = chance.choice(("<H", "<I", ">I"))
            struct.pack_into(code, data, where, chance.choice(_LENGTHS) & (0xFFFF if code == "<H" else 0xFFFFFFFF))
        case 9:
            data[place + 4 : place + 6] = chance.choice(_VRS)
        case 10:
            struct.pack_into(
                "<HH",
                data,
                place,
                chance.choice((0, 2, 4, 8, 9, 0x10, 0x20, 0x28, 0x7FE0, 0xFFFE)),
                chance.randrange(0x10000),
            )
        case 11:
            # Numbers about the image: rows, columns, bits, frames and the like.
            wanted = struct.pack("<H", 0x28)
            found = [p for p in chosen.places if chosen.content[p : p + 2] == wanted and p + 10 < len(data)]
            if found:
                struct.pack_into("<H", data, chance.choice(found) + 8, chance.choice(_LENGTHS) & 0xFFFF)
        case 12:
            other = chance.choice(sources).content
            start = chance.randrange(len(other))
            piece = other[start : start + chance.choice((16, 200, 2000))]
            data[at : at + len(piece)] = piece
        case _:
            places = [chance.randrange(len(data)) for _ in range(2)]
            data[places[0]], data[places[1]] = data[places[1]], data[places[0]]
