"""DICOM files that lie about lengths, nesting, identifiers, texts, pixels and themselves (CONTROLS UPL-04..06, 09)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.dicom.files import ITEM_END, SEQUENCE_END, UNDEFINED, element, item
from tests.hostile import raw
from tests.hostile.cases import IGNORED, Case, rejected, stored, uid_for

SOP, STUDY, SERIES, SOP_CLASS = 0x00080018, 0x0020000D, 0x0020000E, 0x00080016
NAME, PIXELS, FRAMES, CHARSET = 0x00100010, 0x7FE00010, 0x00280008, 0x00080005
REFERENCED = 0x00081140  # a sequence of every composite object


def dicom_cases() -> Iterator[Case]:
    """Every DICOM file of the corpus."""
    for family in (
        truncations,
        lengths,
        nesting,
        deflation,
        identifiers,
        meta_lies,
        texts,
        numbers,
        geometry,
        palettes,
        encapsulation,
        structure,
        preambles,
        discs,
    ):
        yield from family()


def truncations() -> Iterator[Case]:
    """Files that end too early, once inside each structure of the format."""
    whole = raw.changed("cut")
    start = len(raw.part10("cut", b""))
    places = {
        "inside the preamble": (90, "not-dicom"),
        "inside the prefix": (130, "not-dicom"),
        "behind the prefix": (132, "truncated"),
        "inside the meta length": (138, "truncated"),
        "inside a meta element": (170, "truncated"),
        "inside the transfer syntax": (start - 25, "truncated"),
        "behind the meta information": (start, "no-uid"),
        "inside a tag": (start + 2, "truncated"),
        "inside a VR": (start + 5, "truncated"),
        "inside a length": (start + 7, "truncated"),
        "inside a value": (start + 20, "truncated"),
        "behind the SOP class": (start + 34, "no-uid"),
        "inside the pixel data's head": (len(whole) - 70, "truncated"),
        "inside the pixel data": (len(whole) - 32, "truncated"),
        "before the last byte": (len(whole) - 1, "truncated"),
    }
    for where, (length, code) in places.items():
        yield rejected(code, f"cut {where}", lambda length=length: whole[:length])
    yield rejected("empty", "no byte at all", lambda: b"")
    packed = raw.encapsulated("cut fragments", [b"\xff\xd8\xff\xd9" * 8])
    yield rejected("truncated", "cut inside the offset table's head", lambda: packed[: packed.rindex(item(b"")) + 5])
    yield rejected(
        "truncated", "cut behind the offset table", lambda: packed[: packed.rindex(b"\xff\xd8\xff\xd9" * 8) - 8]
    )
    yield rejected("truncated", "cut inside a fragment", lambda: packed[:-20])
    name = "no sequence delimiter behind the last fragment"
    yield stored(name, lambda: raw.encapsulated(name, [b"\xff\xd8\xff\xd9"])[:-8])


def lengths() -> Iterator[Case]:
    """Lengths that are wrong, huge, odd or undefined where that is not allowed."""

    def with_value(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
        return element(tag, vr, value, length)

    lies = {
        "UI longer than the file": ("truncated", (0x00080014, with_value(0x00080014, "UI", b"1.2", 0xFFF0))),
        "UT of 4 GB": ("truncated", (0x00104000, with_value(0x00104000, "UT", b"abcd", 0xFFFFFFF0))),
        "OB of 3 GB in a private group": ("truncated", (0x00091001, with_value(0x00091001, "OB", b"abcd", 3 << 30))),
        "UN of 2 GB": ("truncated", (0x00091001, with_value(0x00091001, "UN", b"abcd", 1 << 31))),
        "SQ of 2 GB": ("truncated", (REFERENCED, with_value(REFERENCED, "SQ", item(b""), 1 << 31))),
        "pixel data of 4 GB": ("truncated", (PIXELS, with_value(PIXELS, "OB", bytes(64), 0xFFFFFFFE))),
        "native pixel data of undefined length": (
            "no-transfer-syntax",
            (PIXELS, with_value(PIXELS, "OB", item(b"") + SEQUENCE_END, UNDEFINED)),
        ),
        "pixel data shorter than one frame": ("truncated", (PIXELS, with_value(PIXELS, "OB", bytes(10)))),
        "a length that ends inside the next element": (
            "truncated",
            (0x00080050, with_value(0x00080050, "SH", b"ABCDEFGH", 13)),
        ),
    }
    for name, (code, change) in lies.items():
        yield rejected(code, name, lambda name=name, change=change: raw.changed(name, change))
    accepted = {
        "an odd length": (0x00080050, with_value(0x00080050, "SH", b"ABC")),
        "no pixels in the pixel data": (PIXELS, with_value(PIXELS, "OB", b"")),
        "a group length that lies": (0x00080000, element(0x00080000, "UL", struct.pack("<I", 0x7FFFFFFF))),
        "an empty sequence of undefined length": (REFERENCED, element(REFERENCED, "SQ", SEQUENCE_END, UNDEFINED)),
        "a hundred empty items": (REFERENCED, element(REFERENCED, "SQ", item(b"") * 100)),
    }
    for name, change in accepted.items():
        yield stored(name, lambda name=name, change=change: raw.changed(name, change))
    open_ends = {
        "a sequence without an end": element(REFERENCED, "SQ", item(b""), UNDEFINED),
        "an item without an end": element(REFERENCED, "SQ", item(b"", UNDEFINED), UNDEFINED),
        "an item longer than the file": element(REFERENCED, "SQ", item(b"", 1 << 30), UNDEFINED),
        "a sequence that ends inside an item's head": element(REFERENCED, "SQ", item(b"")[:6]),
        "UN of undefined length without an end": element(0x00091010, "UN", item(b""), UNDEFINED),
    }
    for name, tail in open_ends.items():
        yield rejected("truncated", name, lambda name=name, tail=tail: raw.changed(name, (REFERENCED, tail)))
    longer = "an item longer than its sequence"
    tail = element(REFERENCED, "SQ", item(raw.text(0x00081155, "UI", "1.2"), 4000))
    yield stored(longer, lambda: raw.changed(longer, (REFERENCED, tail)))
    name = "text of undefined length"
    endless = element(0x00104000, "UT", b"abcd", UNDEFINED)
    yield rejected("malformed", name, lambda: raw.changed(name, (0x00104000, endless)))


def _nested(depth: int, *, is_defined: bool, vr: str = "SQ") -> bytes:
    if not is_defined:
        opening = element(REFERENCED, vr, b"", UNDEFINED) + item(b"", UNDEFINED)
        return opening * depth + (ITEM_END + SEQUENCE_END) * depth
    value = b""
    for _ in range(depth):
        value = element(REFERENCED, vr, item(value))
    return value


def nesting() -> Iterator[Case]:
    """Sequences in sequences, and more of them than anybody needs."""
    for depth, is_defined in ((40, True), (40, False), (200, True), (200, False), (5000, False), (5000, True)):
        name = f"{depth} sequences deep, {'with lengths' if is_defined else 'without lengths'}"
        yield rejected(
            "too-deep",
            name,
            lambda name=name, depth=depth, is_defined=is_defined: raw.changed(
                name, (REFERENCED, _nested(depth, is_defined=is_defined))
            ),
        )
    name = "20,000 sequences deep and never closed"
    opening = element(REFERENCED, "SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
    yield rejected("too-deep", name, lambda: raw.changed(name, (REFERENCED, opening * 20_000)))
    name_un = "200 deep in UN"
    yield rejected(
        "too-deep",
        name_un,
        lambda: raw.changed(
            name_un,
            (
                0x00091010,
                _nested(200, is_defined=False, vr="UN").replace(
                    struct.pack("<HH", 8, 0x1140), struct.pack("<HH", 9, 0x1010)
                ),
            ),
        ),
    )
    name_items = "150,000 items"
    yield rejected(
        "too-many-elements",
        name_items,
        lambda: raw.changed(name_items, (REFERENCED, element(REFERENCED, "SQ", item(b"") * 150_000))),
    )
    name_many = "120,000 elements"
    many = b"".join(element((group << 16) + 0x1000 + n, "LO", b"") for group in (9, 11) for n in range(0xEA60))
    yield rejected("too-many-elements", name_many, lambda: raw.changed(name_many, (0x00091000, many)))
    name_deep = "30 sequences deep"
    yield stored(name_deep, lambda: raw.changed(name_deep, (REFERENCED, _nested(30, is_defined=False))))
    stray = {
        "an item at the top": item(b""),
        "a sequence delimiter at the top": SEQUENCE_END,
        "a sequence delimiter inside an item": element(REFERENCED, "SQ", item(SEQUENCE_END)),
    }
    for name, data in stray.items():
        yield stored(name, lambda name=name, data=data: raw.changed(name, (REFERENCED, data)))
    end = "an item delimiter at the top"
    yield rejected("malformed", end, lambda: raw.changed(end, (REFERENCED, ITEM_END)))


def deflation() -> Iterator[Case]:
    """The deflated transfer syntax: bombs, rubbish, cuts."""
    bomb = element(0x00104000, "UT", bytes(20 << 20))

    def bombed(name: str) -> bytes:
        return raw.deflated(name, raw.joined(raw.image(name)) + bomb, level=1)

    yield rejected("expands-beyond-limit", "deflated, 20 MB of nothing", lambda: bombed("deflated, 20 MB of nothing"))
    name = "deflated, cut"
    yield rejected("truncated", name, lambda: raw.deflated(name, raw.joined(raw.image(name)))[:-40])
    name_noise = "deflated, rubbish"
    yield rejected("malformed", name_noise, lambda: raw.part10(name_noise, b"\xff" * 300, raw.DEFLATED))
    name_not = "called deflated, but is not"
    yield rejected("malformed", name_not, lambda: raw.part10(name_not, raw.joined(raw.image(name_not)), raw.DEFLATED))
    name_is = "deflated, but not called so"
    yield rejected(
        "truncated",
        name_is,
        lambda: raw.deflated(name_is, raw.joined(raw.image(name_is))).replace(
            b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
        ),
    )
    name_empty = "deflated, nothing in it"
    yield rejected("truncated", name_empty, lambda: raw.deflated(name_empty, b""))
    name_none = "deflated, not a byte"
    yield rejected("truncated", name_none, lambda: raw.part10(name_none, b"", raw.DEFLATED))
    name_tail = "deflated, with a ZIP behind it"
    yield stored(
        name_tail, lambda: raw.deflated(name_tail, raw.joined(raw.image(name_tail))) + b"PK\x03\x04" + bytes(64)
    )
    name_twice = "deflated twice"
    yield rejected(
        "truncated",
        name_twice,
        lambda: raw.deflated(name_twice, raw.deflated(name_twice, raw.joined(raw.image(name_twice)))[132:]),
    )


BAD_UIDS = {
    "walks up": "../../etc/x",
    "walks up with backslashes": "..\\..\\windows\\x",
    "is absolute": "/etc/passwd",
    "walks up, encoded": "%2e%2e%2f%2e%2e%2fetc",
    "is nothing but dots": "......",
    "has 65 digits": "1." + "2" * 63,
    "has 500 digits": "1." + "2" * 498,
    "has letters": "1.2.840.abc",
    "has a space inside": "1.2. 3",
    "has a line end": "1.2.3\r\nSet-Cookie: x=1",
    "has a NUL inside": "1.2\0.3",
    "has a quote": "1.2'; DROP TABLE studies_study;--",
    "is markup": "<script>1</script>",
    "is a template": "{{7*7}}${7*7}",
    "has two values": "1.2.3\\1.2.4",
    "begins with a dot": ".1.2.3",
    "ends with a dot": "1.2.3.",
    "has an empty component": "1.2..3",
    "is not ASCII": "1.2.\xff\xfe",
    "has digits of another script": "1.2.٣".encode().decode("latin-1"),
}


def identifiers() -> Iterator[Case]:
    """Identifiers that are paths, markup, too long, empty, or somebody else's."""
    for what, value in BAD_UIDS.items():
        for tag, which in (
            (SOP, "SOP Instance"),
            (STUDY, "Study Instance"),
            (SERIES, "Series Instance"),
            (SOP_CLASS, "SOP Class"),
        ):
            if tag != SOP and what not in ("walks up", "has 65 digits", "has a NUL inside", "has a line end"):
                continue
            name = f"{which} UID {what}"
            yield rejected(
                "bad-uid",
                name,
                lambda name=name, tag=tag, value=value: raw.changed(name, (tag, raw.text(tag, "UI", value))),
            )
    for tag, which in (
        (SOP, "SOP Instance"),
        (STUDY, "Study Instance"),
        (SERIES, "Series Instance"),
        (SOP_CLASS, "SOP Class"),
    ):
        yield rejected(
            "no-uid", f"no {which} UID", lambda tag=tag, which=which: raw.changed(f"no {which} UID", (tag, b""))
        )
        yield rejected(
            "no-uid",
            f"empty {which} UID",
            lambda tag=tag, which=which: raw.changed(f"empty {which} UID", (tag, element(tag, "UI", b""))),
        )
        yield rejected(
            "no-uid",
            f"{which} UID of NULs",
            lambda tag=tag, which=which: raw.changed(f"{which} UID of NULs", (tag, element(tag, "UI", bytes(8)))),
        )
    name = "one UID for study, series and instance"
    same = uid_for(name)
    yield stored(name, lambda: raw.changed(name, *((tag, raw.text(tag, "UI", same)) for tag in (SOP, STUDY, SERIES))))
    first = "an identifier that another file has too"
    yield stored(first, lambda: raw.changed(first))
    yield Case(
        "the same identifier, other bytes",
        lambda: raw.changed(first, (NAME, raw.text(NAME, "PN", "Other"))),
        "conflict",
        "different-bytes",
    )
    yield Case("the same identifier, the same bytes", lambda: raw.changed(first), "duplicate", "same-bytes")


def meta_lies() -> Iterator[Case]:
    """File meta information that says something else than the data set."""
    name = "another SOP Instance UID in the meta information"
    yield stored(name, lambda: raw.part10(name, raw.joined(raw.image(name)), uid="9.9.9.9"))
    name2 = "a path as SOP Instance UID in the meta information"
    yield stored(name2, lambda: raw.part10(name2, raw.joined(raw.image(name2)), uid="../../etc/passwd"))
    name3 = "another SOP class in the meta information"
    yield stored(name3, lambda: raw.part10(name3, raw.joined(raw.image(name3)), sop_class="1.2.840.10008.5.1.4.1.1.2"))
    name4 = "implicit VR, called explicit"
    yield stored(name4, lambda: raw.part10(name4, raw.implicit(raw.plain(name4))))
    name5 = "explicit VR, called implicit"
    yield stored(name5, lambda: raw.part10(name5, raw.joined(raw.image(name5)), raw.IMPLICIT))
    name6 = "big endian, called little"
    yield rejected("truncated", name6, lambda: raw.part10(name6, raw.big_endian(raw.plain(name6), raw.image(name6))))
    name7 = "little endian, called big"
    yield rejected("truncated", name7, lambda: raw.part10(name7, raw.joined(raw.image(name7)), raw.BIG_ENDIAN))
    name8 = "big endian, and called so"
    yield stored(name8, lambda: raw.part10(name8, raw.big_endian(raw.plain(name8), raw.image(name8)), raw.BIG_ENDIAN))
    name9 = "a transfer syntax that nobody knows"
    yield stored(name9, lambda: raw.part10(name9, raw.joined(raw.image(name9)), "1.2.3.4.5.6"))
    for what in ("../../x", "1.2.840.10008.1.2.1\r\nX: y", "text/html", "1" * 65):
        name_bad = f"transfer syntax {what!r}"
        yield rejected("bad-uid", name_bad, lambda n=name_bad, what=what: raw.part10(n, raw.joined(raw.image(n)), what))
    name10 = "no transfer syntax"
    yield stored(name10, lambda: _without_meta(name10, 0x00020010))
    name11 = "raw pixels, called JPEG"
    yield rejected("malformed", name11, lambda: raw.part10(name11, raw.joined(raw.image(name11)), raw.JPEG))
    name12 = "meta information with a huge length"
    yield stored(
        name12, lambda: raw.changed(name12).replace(_length_of(name12), element(0x00020000, "UL", b"\xf0\xff\xff\xff"))
    )
    name13 = "meta information without a length"
    yield stored(name13, lambda: raw.changed(name13).replace(_length_of(name13), b""))
    name14 = "no meta information, no preamble"
    yield stored(name14, lambda: raw.joined(raw.image(name14)))
    name15 = "group 0002 in the data set"
    yield rejected("malformed", name15, lambda: raw.changed(name15, (0x00080001, raw.text(0x00020010, "UI", raw.JPEG))))
    name16 = "a command set in the data set"
    yield stored(name16, lambda: raw.changed(name16, (0x00000002, raw.text(0x00000002, "UI", "1.2.840.10008.1.1"))))


def _length_of(name: str) -> bytes:
    return raw.meta(name)[:12]


def _without_meta(name: str, tag: int) -> bytes:
    whole = raw.meta(name)
    lost = raw.text(tag, "UI", raw.EXPLICIT)
    rest = whole[12:].replace(lost, b"")
    return (
        bytes(128)
        + b"DICM"
        + element(0x00020000, "UL", struct.pack("<I", len(rest)))
        + rest
        + raw.joined(raw.image(name))
    )


MARKUP = {
    "script": "<script>document.hostile=1</script>",
    "image with onerror": '"><img src=x onerror=alert(1)>',
    "svg": "<svg/onload=alert(1)>",
    "template": "{{7*7}}{% debug %}${7*7}#{7*7}",
    "format string": "%s%n%x{0.__class__.__mro__}{}",
    "CR LF": "A\r\nSet-Cookie: hostile=1\r\n\r\n<b>",
    "NUL": "A\0B\0",
    "controls": "A\x01\x02\x07\x08\x1b[31mB\x7f\x9b",
    "formula": "=HYPERLINK(1)+cmd|' /C calc'!A0",
    "quote": "O'Neill'; DROP TABLE patients_patient;--",
    "many carets": "^" * 300,
    "many groups": "=" * 300,
    "many values": "\\" * 300,
    "60,000 letters": "A" * 60_000,
    "nothing but spaces": " " * 64,
    "path": "../../../../etc/passwd",
    "JSON": '"}],"x":[{"',
    "jndi": "${jndi:ldap://127.0.0.1/x}",
}

CHARSETS = {
    "unknown": "ISO_IR 999",
    "UTF-7": "UTF-7",
    "a codec of Python": "rot13\\base64\\idna",
    "a path": "../../etc",
    "200 of them": "\\".join(["ISO 2022 IR 87"] * 200),
    "empty values": "\\\\\\",
    "NUL": "ISO_IR 100\0\0",
    "markup": "<b>x</b>",
    "utf-16": "utf_16",
    "undefined codec": "undefined",
}


def texts() -> Iterator[Case]:
    """Texts that are markup, commands, control characters or in no character set at all."""
    for what, value in MARKUP.items():
        name = f"patient's name: {what}"
        yield stored(
            name,
            lambda name=name, value=value: raw.changed(
                name,
                (NAME, raw.text(NAME, "PN", value)),
                (STUDY, raw.text(STUDY, "UI", uid_for(name, "study"))),
                (0x00081030, raw.text(0x00081030, "LO", value[:2000])),
                (0x0008103E, raw.text(0x0008103E, "LO", value[:2000])),
                (0x00100020, raw.text(0x00100020, "LO", value[:2000])),
                (0x00080050, raw.text(0x00080050, "SH", value[:2000])),
                (0x00080060, raw.text(0x00080060, "CS", value[:100])),
                (0x00100040, raw.text(0x00100040, "CS", value[:100])),
            ),
        )
    for what, value in CHARSETS.items():
        name = f"character set: {what}"
        yield stored(
            name,
            lambda name=name, value=value: raw.changed(
                name, (CHARSET, raw.text(CHARSET, "CS", value)), (NAME, raw.text(NAME, "PN", b"M\xfcller^J\xf6rg"))
            ),
        )
    broken = {
        "escapes without an end": b"\x1b$)A\x1b$B\x1b(J\x1b",
        "UTF-8 that is none": b"\xc3\x28\xa0\xa1\xff\xfe\x80",
        "surrogates": b"\xed\xa0\x80\xed\xb0\x80",
        "overrides of direction": "A\u202egpj.exe\u2066\u200b\ufeff".encode(),
        "a million combining marks": ("e" + "\u0301" * 5000).encode(),
        "emoji and astral letters": "\U0001f480\U00010348\U000e0041".encode(),
        "not characters": "\ufffe\uffff\U0001ffff".encode(),
    }
    for what, value in broken.items():
        name = f"patient's name: {what}"
        yield stored(
            name,
            lambda name=name, value=value: raw.changed(
                name,
                (CHARSET, raw.text(CHARSET, "CS", "ISO_IR 192")),
                (NAME, raw.text(NAME, "PN", value)),
                (STUDY, raw.text(STUDY, "UI", uid_for(name, "study"))),
            ),
        )
        multi = f"{name}, said to be Japanese"
        yield stored(
            multi,
            lambda name=multi, value=value: raw.changed(
                name,
                (CHARSET, raw.text(CHARSET, "CS", "\\ISO 2022 IR 87")),
                (NAME, raw.text(NAME, "PN", value)),
                (STUDY, raw.text(STUDY, "UI", uid_for(name, "study"))),
            ),
        )
    dates = [
        "99999999",
        "20250230",
        "00000000",
        "2025",
        "'; DROP",
        "20250101-20251231",
        "-1",
        "20250101\\20250102",
        "\0\0",
    ]
    for value in dates:
        name = f"study date {value!r}"
        yield stored(
            name,
            lambda name=name, value=value: raw.changed(
                name,
                (0x00080020, raw.text(0x00080020, "DA", value)),
                (0x00080030, raw.text(0x00080030, "TM", value)),
                (0x00100030, raw.text(0x00100030, "DA", value)),
                (STUDY, raw.text(STUDY, "UI", uid_for(name, "study"))),
            ),
        )
    name = "text of 12 MB"
    yield stored(name, lambda: raw.changed(name, (0x00104000, element(0x00104000, "UT", b"x" * (12 << 20)))))


def numbers() -> Iterator[Case]:
    """Numbers that are none, or none that fit."""
    values = [
        "1e400",
        "-99999999999999999999",
        "nan",
        "inf",
        "0x10",
        "1_000",
        "٣".encode().decode("latin-1"),
        "",
        "1" * 400,
        "1\\2\\3",
        "--1",
        "\0",
    ]
    for value in values:
        name = f"numbers that say {value[:20]!r}"
        yield stored(
            name,
            lambda name=name, value=value: raw.changed(
                name,
                (0x00200011, raw.text(0x00200011, "IS", value)),
                (0x00200013, raw.text(0x00200013, "IS", value)),
                (0x00180050, raw.text(0x00180050, "DS", value)),
                (0x00200032, raw.text(0x00200032, "DS", f"{value}\\0\\0")),
                (0x00281050, raw.text(0x00281050, "DS", value)),
                (0x00281051, raw.text(0x00281051, "DS", value)),
                (0x00281052, raw.text(0x00281052, "DS", value)),
                (0x00281053, raw.text(0x00281053, "DS", value)),
                (0x00280030, raw.text(0x00280030, "DS", f"{value}\\{value}")),
            ),
        )
    for width in ("0", "-1", "1e308", "1e-308"):
        name = f"window of width {width}"
        yield stored(
            name,
            lambda name=name, width=width: raw.changed(
                name, (0x00281050, raw.text(0x00281050, "DS", "1e308")), (0x00281051, raw.text(0x00281051, "DS", width))
            ),
        )


def geometry() -> Iterator[Case]:
    """Sizes that overflow, contradict the data, or make no image."""
    floods = {
        "65535 x 65535 pixels": {"rows": 65535, "columns": 65535},
        "65535 x 65535 pixels of 64 bits": {"rows": 65535, "columns": 65535, "bits": 64},
        "65535 samples a pixel": {"rows": 65535, "columns": 65535, "samples": 65535},
    }
    for name, sizes in floods.items():
        yield rejected("too-many-pixels", name, lambda name=name, sizes=sizes: raw.changed(name, **sizes))
        packed = f"{name}, compressed"
        yield rejected(
            "too-many-pixels",
            packed,
            lambda name=packed, sizes=sizes: raw.encapsulated(name, [b"\xff\xd8\xff\xd9"], **sizes),
        )
    for frames in ("1000000000", "2147483647"):
        name = f"{frames} frames"
        yield rejected(
            "too-many-pixels",
            name,
            lambda name=name, frames=frames: raw.changed(name, (FRAMES, raw.text(FRAMES, "IS", frames))),
        )
        packed = f"{name}, compressed"
        yield rejected(
            "too-many-pixels",
            packed,
            lambda name=packed, frames=frames: raw.encapsulated(name, [b"\xff\xd8\xff\xd9"], frames=frames),
        )
    for frames in ("0", "-1", "abc", "99999", "1.5"):
        name = f"frames: {frames}"
        yield stored(name, lambda name=name, frames=frames: raw.changed(name, (FRAMES, raw.text(FRAMES, "IS", frames))))
    odd = {
        "no rows": (0x00280010, raw.number(0x00280010, 0)),
        "no columns": (0x00280011, raw.number(0x00280011, 0)),
        "no samples": (0x00280002, raw.number(0x00280002, 0)),
        "no bits allocated": (0x00280100, raw.number(0x00280100, 0)),
        "7 bits allocated": (0x00280100, raw.number(0x00280100, 7)),
        "1 bit allocated": (0x00280100, raw.number(0x00280100, 1)),
        "more bits stored than allocated": (0x00280101, raw.number(0x00280101, 40)),
        "65535 bits stored": (0x00280101, raw.number(0x00280101, 65535)),
        "high bit 65535": (0x00280102, raw.number(0x00280102, 65535)),
        "pixel representation 7": (0x00280103, raw.number(0x00280103, 7)),
        "planar configuration 9": (0x00280006, raw.number(0x00280006, 9)),
        "photometric interpretation that nobody knows": (0x00280004, raw.text(0x00280004, "CS", "HOLOGRAM")),
        "photometric interpretation of 400 letters": (0x00280004, raw.text(0x00280004, "CS", "R" * 400)),
        "rows as text": (0x00280010, raw.text(0x00280010, "LO", "eight")),
        "rows of six values": (0x00280010, element(0x00280010, "US", struct.pack("<6H", *range(6)))),
        "rows of one byte": (0x00280010, element(0x00280010, "US", b"\x08")),
        "no rows at all": (0x00280010, b""),
        "no photometric interpretation": (0x00280004, b""),
        "pixel data as UN": (PIXELS, element(PIXELS, "UN", bytes(64))),
        "pixel data as text": (PIXELS, element(PIXELS, "UT", bytes(64))),
        "pixel data as a short text": (PIXELS, element(PIXELS, "SH", bytes(64))),
        "float pixels beside the others": (0x7FE00008, element(0x7FE00008, "OF", bytes(256))),
        "an aspect ratio of nothing": (0x00280034, raw.text(0x00280034, "IS", "0\\0")),
    }
    for name, change in odd.items():
        yield stored(name, lambda name=name, change=change: raw.changed(name, change))
    two = "two samples a pixel, and bytes for one"
    yield rejected("truncated", two, lambda: raw.changed(two, samples=2))


def palettes() -> Iterator[Case]:
    """Palettes, look-up tables and overlays whose descriptors lie."""

    def palette(name: str, descriptor: tuple[int, int, int], data: bytes) -> bytes:
        changes = [(0x00280004, raw.text(0x00280004, "CS", "PALETTE COLOR"))]
        for number in (1, 2, 3):
            changes.append((0x00281100 + number, element(0x00281100 + number, "US", struct.pack("<3H", *descriptor))))
            changes.append((0x00281200 + number, element(0x00281200 + number, "OW", data)))
        return raw.changed(name, *changes)

    lies = {
        "palette of 65536 entries without data": ((0, 0, 16), b""),
        "palette of 65535 entries in 4 bytes": ((65535, 0, 16), b"\1\2\3\4"),
        "palette of 99 bits": ((256, 0, 99), bytes(512)),
        "palette of no bits": ((256, 0, 0), bytes(512)),
        "palette that begins at 65535": ((2, 65535, 8), b"\1\2"),
        "palette of one entry": ((1, 0, 8), b"\1\0"),
    }
    for name, (descriptor, data) in lies.items():
        yield stored(name, lambda name=name, descriptor=descriptor, data=data: palette(name, descriptor, data))
    name = "palette colour without a palette"
    yield stored(name, lambda: raw.changed(name, (0x00280004, raw.text(0x00280004, "CS", "PALETTE COLOR"))))
    segmented = "palette in segments that never end"
    yield stored(
        segmented,
        lambda: raw.changed(
            segmented,
            (0x00280004, raw.text(0x00280004, "CS", "PALETTE COLOR")),
            *(
                change
                for n in (1, 2, 3)
                for change in (
                    (0x00281100 + n, element(0x00281100 + n, "US", struct.pack("<3H", 0, 0, 16))),
                    (0x00281220 + n, element(0x00281220 + n, "OW", struct.pack("<8H", 1, 65535, 5, 2, 65535, 0, 0, 0))),
                )
            ),
        ),
    )
    for tag, what in ((0x00283000, "modality"), (0x00283010, "VOI")):
        name_lut = f"{what} table that lies"
        table = element(0x00283002, "US", struct.pack("<3H", 0, 65535, 16)) + element(0x00283006, "OW", b"\1\2")
        yield stored(
            name_lut,
            lambda name=name_lut, tag=tag, table=table: raw.changed(name, (tag, element(tag, "SQ", item(table)))),
        )
    name_overlay = "overlay of 65535 x 65535 in 2 bytes"
    yield stored(
        name_overlay,
        lambda: raw.changed(
            name_overlay,
            (0x60000010, raw.number(0x60000010, 65535)),
            (0x60000011, raw.number(0x60000011, 65535)),
            (0x60000050, element(0x60000050, "SS", struct.pack("<2h", -32768, 32767))),
            (0x60000100, raw.number(0x60000100, 1)),
            (0x60000102, raw.number(0x60000102, 99)),
            (0x60003000, element(0x60003000, "OW", b"\xff\xff")),
        ),
    )
    name_icc = "colour profile of rubbish"
    yield stored(name_icc, lambda: raw.changed(name_icc, (0x00282000, element(0x00282000, "OB", b"acsp" * 50))))
    name_shared = "functional groups of rubbish"
    yield stored(
        name_shared,
        lambda: raw.changed(
            name_shared,
            (
                0x52009229,
                element(0x52009229, "SQ", item(element(0x00289145, "SQ", item(raw.text(0x00281053, "DS", "x"))))),
            ),
            (0x52009230, element(0x52009230, "SQ", item(b"") * 50)),
        ),
    )


def _jpeg(width: int, height: int, marker: int = 0xC0) -> bytes:
    """The head of a JPEG of this size, and hardly more."""
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + frame + b"\xff\xda\0\x08\1\1\0\0?\0" + b"\x12\x34" + b"\xff\xd9"


def _jpeg_2000(width: int, height: int) -> bytes:
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, width, height, 0, 0, width, height, 0, 0, 1, 7, 1, 1)
    return (
        b"\xff\x4f\xff\x51"
        + size
        + b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0\0"
        + b"\xff\x5c\0\x04\x40\x40"
        + b"\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93"
        + b"\xff\xd9"
    )


def _jpeg_ls(width: int, height: int) -> bytes:
    return (
        b"\xff\xd8\xff\xf7"
        + struct.pack(">HBHHB", 11, 8, height, width, 1)
        + b"\1\x11\0"
        + b"\xff\xda\0\x08\1\1\0\0\0\0\0"
        + b"\xff\xd9"
    )


def _rle(segments: int, *offsets: int, data: bytes = b"") -> bytes:
    return struct.pack("<16I", segments, *offsets, *([0] * (15 - len(offsets)))) + data


def encapsulation() -> Iterator[Case]:
    """Fragments and offset tables that lie, and codestreams that break decoders."""
    jpeg = _jpeg(8, 8)
    tables = {
        "offset table beyond the end": struct.pack("<2I", 0, 0x7FFFFFFF),
        "offset table that goes backwards": struct.pack("<2I", 0, 0),
        "offset table into the middle of a fragment": struct.pack("<2I", 0, 3),
        "offset table of odd length": b"\0\0\0\0\1\0",
        "offset table for 100,000 frames": bytes(400_000),
    }
    for name, table in tables.items():
        yield stored(name, lambda name=name, table=table: raw.encapsulated(name, [jpeg, jpeg], table=table, frames="2"))
    frames = {
        "more frames than fragments": "50",
        "fewer frames than fragments": "1",
        "frames that divide no fragments": "2",
    }
    for name, count in frames.items():
        yield stored(name, lambda name=name, count=count: raw.encapsulated(name, [jpeg] * 3, frames=count))
    yield stored("fragments of no length", lambda: raw.encapsulated("fragments of no length", [b""] * 20, frames="20"))
    yield stored("no fragments", lambda: raw.encapsulated("no fragments", []))
    lying = raw.encapsulated("a fragment of 2 GB", [jpeg])
    at = lying.rindex(item(jpeg)) + 4
    yield rejected("truncated", "a fragment of 2 GB", lambda: lying[:at] + struct.pack("<I", 1 << 31) + lying[at + 4 :])
    other = raw.encapsulated("an element among fragments", [jpeg, jpeg])
    place = other.rindex(item(jpeg))
    yield rejected(
        "malformed", "an element among fragments", lambda: other[:place] + b"\x08\0\x18\0" + other[place + 4 :]
    )
    streams = {
        "JPEG of 65535 x 65535": (raw.JPEG, _jpeg(65535, 65535)),
        "JPEG of 0 x 0": (raw.JPEG, _jpeg(0, 0)),
        "JPEG of another size": (raw.JPEG, _jpeg(64, 3)),
        "JPEG cut in the scan": (raw.JPEG, jpeg[:-3]),
        "JPEG without tables": (raw.JPEG, b"\xff\xd8\xff\xda\0\x08\1\1\0\0?\0" + bytes(40)),
        "JPEG of markers alone": (raw.JPEG, b"\xff\xd8" + b"\xff\xe0\0\x02" * 3000),
        "JPEG extended of 65535 x 65535": ("1.2.840.10008.1.2.4.51", _jpeg(65535, 65535, 0xC1)),
        "JPEG lossless of 65535 x 65535": (raw.JPEG_LOSSLESS, _jpeg(65535, 65535, 0xC3)),
        "JPEG lossless of rubbish": (raw.JPEG_LOSSLESS, b"\xff\xd8\xff\xc3" + bytes(range(200))),
        "JPEG-LS of 65535 x 65535": (raw.JPEG_LS, _jpeg_ls(65535, 65535)),
        "JPEG-LS cut": (raw.JPEG_LS, _jpeg_ls(8, 8)[:-12]),
        "JPEG 2000 of 65535 x 65535": (raw.JPEG_2000, _jpeg_2000(65535, 65535)),
        "JPEG 2000 of 4 billion pixels a side": (raw.JPEG_2000, _jpeg_2000(0xFFFFFFFF, 0xFFFFFFFF)),
        "JPEG 2000 without tiles": (raw.JPEG_2000, _jpeg_2000(8, 8)),
        "JPEG 2000 as a JP2 box that lies": (
            raw.JPEG_2000,
            b"\0\0\0\x0cjP  \r\n\x87\n\xff\xff\xff\xffjp2c" + _jpeg_2000(8, 8),
        ),
        "HTJ2K of rubbish": (raw.HTJ2K, b"\xff\x4f\xff\x51" + bytes(range(250))),
        "RLE of 15 segments beyond the end": (raw.RLE, _rle(15, *range(64, 64 + 15 * 0x1000000, 0x1000000))),
        "RLE of 4 billion segments": (raw.RLE, _rle(0xFFFFFFFF, 64)),
        "RLE without segments": (raw.RLE, _rle(0)),
        "RLE that repeats beyond the frame": (raw.RLE, _rle(1, 64, data=b"\x81\xff" * 60_000)),
        "RLE cut in its head": (raw.RLE, b"\1\0\0\0"),
        "RLE whose segments go backwards": (raw.RLE, _rle(2, 100, 64, data=bytes(100))),
        "a film of rubbish": (raw.MPEG4, b"\0\0\0\x18ftypmp42" + bytes(200)),
        "HTML as JPEG": (raw.JPEG, b"<html><script>alert(1)</script></html>"),
        "a ZIP as JPEG": (raw.JPEG, b"PK\x03\x04" + bytes(100)),
        "one JPEG, called RLE": (raw.RLE, jpeg),
        "one JPEG, called JPEG 2000": (raw.JPEG_2000, jpeg),
    }
    for name, (syntax, stream) in streams.items():
        yield stored(name, lambda name=name, syntax=syntax, stream=stream: raw.encapsulated(name, [stream], syntax))


def structure() -> Iterator[Case]:
    """Elements that stand where, or are what, they should not be."""
    odd = {
        "private elements without a creator": (0x00091010, raw.text(0x00091010, "LO", "secret")),
        "a private sequence": (0x00091010, element(0x00091010, "SQ", item(raw.text(0x00091011, "LO", "x")))),
        "a private sequence as UN": (
            0x00091010,
            element(0x00091010, "UN", item(struct.pack("<HHI", 9, 0x1011, 2) + b"x ")),
        ),
        "a private sequence as UN without a length": (
            0x00091010,
            element(0x00091010, "UN", item(struct.pack("<HHI", 9, 0x1011, 2) + b"x ") + SEQUENCE_END, UNDEFINED),
        ),
        "a creator that is not text": (0x00090010, element(0x00090010, "OB", bytes(range(64)))),
        "a name as a sequence": (NAME, element(NAME, "SQ", item(raw.text(NAME, "PN", "A^B")))),
        "a name as floats": (NAME, element(NAME, "FD", struct.pack("<d", float("nan")))),
        "a sequence as text": (REFERENCED, raw.text(REFERENCED, "LO", "text")),
        "a modality as a number": (0x00080060, element(0x00080060, "FL", struct.pack("<f", float("inf")))),
        "not a number as FD": (0x00189461, element(0x00189461, "FD", struct.pack("<2d", float("nan"), float("inf")))),
        "elements out of order": (0x00080017, raw.text(0x00100020, "LO", "OTHER") + raw.text(0x00080050, "SH", "X")),
        "an element twice": (0x00100021, raw.text(0x00100020, "LO", "SECOND")),
        "a tag that nobody knows": (0x7FFFFFFE, element(0x7FFFFFFE, "UN", b"\1\2")),
        "group FFFC padding": (0xFFFCFFFC, element(0xFFFCFFFC, "OB", bytes(2000))),
        "group FFFF": (0xFFFFFFFF, element(0xFFFFFFFF, "UN", b"\1\2")),
        "an AT of odd bytes": (0x00209165, element(0x00209165, "AT", b"\1\2\3")),
        "a US of odd bytes": (0x00280106, element(0x00280106, "US", b"\1\2\3")),
        "a URL that runs code": (0x0040E010, element(0x0040E010, "UT", b"javascript:alert(1) ")),
        "an encapsulated page": (0x00420011, element(0x00420011, "OB", b"<html><script>alert(1)</script></html> ")),
    }
    for name, change in odd.items():
        yield stored(name, lambda name=name, change=change: raw.changed(name, change))
    for what, vr in {"rubbish": b"??", "NULs": b"\0\0", "small letters": b"sh"}.items():
        name = f"a VR of {what}"
        element_of = b"\x08\0\x50\0" + vr + b"\x04\0ABCD"
        yield rejected("truncated", name, lambda name=name, data=element_of: raw.changed(name, (0x00080050, data)))
    tails = {
        "zeros behind it": bytes(1000),
        "noise behind it": bytes(range(1, 250)),
        "a ZIP behind it": b"PK\x03\x04" + bytes(300) + b"PK\x05\x06" + bytes(18),
        "a page behind it": b"<html><script>alert(1)</script></html>",
        "a second file behind it": raw.changed("the file behind"),
        "a second study behind it": raw.text(STUDY, "UI", "1.2.3"),
    }
    for name, tail in tails.items():
        yield stored(name, lambda name=name, tail=tail: raw.changed(name) + tail)


PREAMBLES = {
    "a Windows program": b"MZ\x90\0" + b"PE\0\0" * 8,
    "a Linux program": b"\x7fELF\2\1\1" + bytes(20),
    "a Mac program": b"\xcf\xfa\xed\xfe" + bytes(20),
    "a script": b"#!/bin/sh\nrm -rf /tmp/hostile\n",
    "a page": b"<html><script>alert(1)</script><!--",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><!--",
    "a ZIP": b"PK\x03\x04\x14\0\0\0\0\0" + bytes(20),
    "a PDF": b"%PDF-1.4\n1 0 obj\n<</OpenAction 2 0 R>>\n",
    "a GIF": b"GIF89a/*",
    "a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a PNG": b"\x89PNG\r\n\x1a\n",
    "a RAR": b"Rar!\x1a\x07\0",
    "EICAR's beginning": rb"X5O!P%@AP[4\PZX54(P^)7CC)7}",
    "0xFF": b"\xff" * 128,
}


def preambles() -> Iterator[Case]:
    """Files that are two things at once: the preamble makes them another kind of file, too."""
    for what, preamble in PREAMBLES.items():
        name = f"also {what}"
        yield stored(
            name, lambda name=name, preamble=preamble: raw.part10(name, raw.joined(raw.image(name)), preamble=preamble)
        )
    alone = {
        "a Windows program alone": b"MZ\x90\0" + bytes(200),
        "a Linux program alone": b"\x7fELF\2\1\1" + bytes(200),
        "a page alone": b"<!doctype html><html><script>alert(1)</script></html>" * 4,
        "SVG alone": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>" * 3,
        "a script alone": b"#!/bin/sh\necho hostile\n" * 20,
        "noise": bytes((n * 197 + 13) % 256 for n in range(3000)),
        "zeros": bytes(3000),
        "one byte": b"D",
        "DICM at the wrong place": b"DICM" * 60,
    }
    for name, data in alone.items():
        yield rejected("truncated" if name == "DICM at the wrong place" else "not-dicom", name, lambda data=data: data)


def discs() -> Iterator[Case]:
    """Indexes of discs: hints at best, never opened, whatever they name."""
    directory = "1.2.840.10008.1.3.10"

    def record(path: bytes) -> bytes:
        return element(0x00041220, "SQ", item(raw.text(0x00041430, "CS", "IMAGE") + raw.text(0x00041500, "CS", path)))

    for what, path in {
        "/etc/passwd": b"..\\..\\..\\etc\\passwd",
        "a device": b"CON\\NUL",
        "itself": b"DICOMDIR",
        "an address": b"\\\\host\\share",
    }.items():
        name = f"a disc's index that names {what}"
        yield Case(
            name, lambda name=name, path=path: raw.part10(name, record(path), sop_class=directory), IGNORED, "dicomdir"
        )
    name_class = "a disc's index that calls itself an image"
    yield Case(
        name_class,
        lambda: raw.part10(name_class, record(b"IM1") + raw.joined(raw.image(name_class))),
        IGNORED,
        "dicomdir",
    )
    name_loop = "a disc's index that goes round in circles"
    loop = element(0x00041200, "UL", struct.pack("<I", 400)) + element(0x00041202, "UL", struct.pack("<I", 400))
    yield Case(
        name_loop, lambda: raw.part10(name_loop, loop + record(b"IM1"), sop_class=directory), IGNORED, "dicomdir"
    )
    name_image = "an image that calls itself a disc's index"
    yield Case(
        name_image,
        lambda: raw.part10(name_image, raw.joined(raw.image(name_image)), sop_class=directory),
        IGNORED,
        "dicomdir",
    )
    name_no = "an object outside of every study"
    yield rejected(
        "no-study",
        name_no,
        lambda: raw.changed(name_no, (SOP_CLASS, raw.text(SOP_CLASS, "UI", "1.2.840.10008.5.1.4.39.1"))),
    )
