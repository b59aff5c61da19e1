"""ZIP archives and images of discs that lie about sizes, places, names and themselves (CONTROLS UPL-03, UPL-05)."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping

from tests.dicom.files import element
from tests.hostile import raw
from tests.hostile.cases import EXPANDED, Case, rejected, uid_for
from tests.ingest.files import part10

CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
STORED_ONE = "stored"
BAD_TEXT = "rejected not-dicom"


def archive_cases() -> Iterator[Case]:
    """Every archive of the corpus."""
    yield from zips_refused()
    yield from zips_opened()
    yield from names()
    yield from discs()


def opened(name: str, make: Callable[[], bytes], **members: int) -> Case:
    """An archive that is opened; `members`: how many end how, an outcome's words joined by "__"."""
    told = tuple(sorted((words.replace("__", " ").replace("_", "-"), count) for words, count in members.items()))
    return Case(name, make, EXPANDED, members=told)


def good(name: str) -> bytes:
    """An instance that may be stored, another for each name."""
    uids = {"StudyInstanceUID": uid_for("archives", "study"), "SeriesInstanceUID": uid_for("archives", "series")}
    return part10(SOPInstanceUID=uid_for(f"archive {name}"), **uids)


def pack(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bytearray(file.getvalue())


def patched(data: bytearray, mark: bytes, at: int, code: str, value: int, *, every: bool = False) -> bytes:
    """The archive with one number changed behind the first, or every, record that begins with `mark`."""
    place = data.index(mark)
    while place >= 0:
        struct.pack_into(f"<{code}", data, place + at, value)
        place = data.find(mark, place + 4) if every else -1
    return bytes(data)


def entries(names: Iterator[bytes], *, size: int = 0, packed: int = 0, offset: int = 0) -> bytes:
    """An archive of a directory alone: entries that all point at one place."""
    records = bytearray()
    count = 0
    for name in names:
        head = (CENTRAL, 20, 20, 0, 0, 0, 33, 0, packed, size, len(name), 0, 0, 0, 0, 0, offset)
        records += struct.pack("<4sHHHHHHIIIHHHHHII", *head) + name
        count += 1
    first = struct.pack("<4sHHHHHIIIHH", LOCAL, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    end = struct.pack("<4sHHHHIIH", END, 0, 0, count % 65536, count % 65536, len(records), len(first), 0)
    return first + bytes(records) + end


def zips_refused() -> Iterator[Case]:
    """Archives that are not opened at all."""
    noise = bytes((n * 197 + n // 256) % 256 for n in range(4000))
    yield rejected("archive-damaged", "a local header alone", lambda: LOCAL)
    yield rejected("archive-damaged", "a local header and zeros", lambda: LOCAL + bytes(5000))
    yield rejected("archive-damaged", "cut in the directory", lambda: bytes(pack({"a": noise})[:-30]))
    yield rejected(
        "archive-damaged", "cut before the directory", lambda: bytes(pack({"a": noise}, zipfile.ZIP_STORED)[:2000])
    )
    yield rejected(
        "archive-damaged",
        "end record that points nowhere",
        lambda: patched(pack({"a": noise}), END, 16, "I", 0xFFFFFFF0),
    )
    yield rejected(
        "archive-damaged",
        "directory larger than the file",
        lambda: patched(pack({"a": noise}), END, 12, "I", 0x7FFFFFFF),
    )
    yield rejected(
        "archive-damaged", "directory of zeros", lambda: bytes(pack({"a": noise})).replace(CENTRAL, b"\0\0\0\0")
    )
    yield opened("two discs", lambda: patched(pack({"a": noise}), END, 4, "H", 3), rejected__not_dicom=1)
    yield rejected("archive-empty", "nothing in it", lambda: bytes(pack({})))
    yield rejected("archive-empty", "folders alone", lambda: bytes(pack({"a/": b"", "b/c/": b""})))
    yield rejected("archive-empty", "one folder, ten thousand levels deep", lambda: bytes(pack({"a/" * 10_000: b""})))
    yield rejected("archive-too-many-members", "100,000 entries", lambda: entries(b"%06d" % n for n in range(100_000)))
    yield rejected(
        "archive-too-many-members", "directory of 20 MB", lambda: entries(b"%060000d" % n for n in range(340))
    )
    yield rejected(
        "archive-overlap", "20,000 entries, all of one place", lambda: entries(b"%05d" % n for n in range(20_000))
    )
    yield rejected("archive-encrypted", "a password", lambda: patched(pack({"a": noise}), CENTRAL, 8, "H", 1))
    yield rejected("archive-encrypted", "strong encryption", lambda: patched(pack({"a": noise}), CENTRAL, 8, "H", 0x41))
    yield rejected("archive-expands", "one bomb of 20 MB", lambda: bytes(pack({"bomb": bytes(20 << 20)})))
    yield rejected(
        "archive-expands",
        "twelve bombs of 7 MB",
        lambda: patched(pack({f"b{n}": bytes(7000) for n in range(12)}), CENTRAL, 24, "I", 7 << 20, every=True),
    )
    yield rejected(
        "archive-expands",
        "a member of 4 GB, it says",
        lambda: patched(pack({"a": noise}), CENTRAL, 24, "I", 0xFFFFFFFE),
    )
    yield rejected("archive-expands", "2 exabytes, by ZIP64", lambda: _zip64(1 << 61))
    yield rejected(
        "archive-expands",
        "ZIP64 without its numbers",
        lambda: patched(pack({"a": noise}), CENTRAL, 24, "I", 0xFFFFFFFF),
    )
    yield rejected(
        "archive-overlap",
        "two entries of one place",
        lambda: patched(pack({"a": noise, "b": noise}), CENTRAL, 42, "I", 0, every=True),
    )
    yield rejected(
        "archive-overlap",
        "an entry that reaches into the next",
        lambda: patched(pack({"a": noise, "b": noise}), CENTRAL, 20, "I", 3900),
    )
    yield rejected(
        "archive-overlap",
        "an entry that reaches into the directory",
        lambda: patched(pack({"a": noise}), CENTRAL, 20, "I", 60_000),
    )
    yield rejected(
        "archive-overlap", "an entry behind the end", lambda: patched(pack({"a": noise}), CENTRAL, 42, "I", 0x7FFFFFF0)
    )


def _zip64(size: int) -> bytes:
    data = pack({"a": b"x" * 100}, zipfile.ZIP_STORED)
    at = data.index(CENTRAL)
    extra = struct.pack("<HHQQ", 1, 16, size, 100)
    struct.pack_into("<I", data, at + 24, 0xFFFFFFFF)
    struct.pack_into("<I", data, at + 20, 0xFFFFFFFF)
    struct.pack_into("<H", data, at + 30, len(extra))
    end = data.index(END)
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(extra))
    return bytes(data[: at + 47] + extra + data[at + 47 :])


def zips_opened() -> Iterator[Case]:
    """Archives of which single members cannot be had, and their neighbours can."""

    def beside(name: str, bad: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
        return pack({"bad": bad, "good": good(name)}, method)

    lie = "a member larger than it says"
    yield opened(
        lie,
        lambda: patched(beside(lie, b"a" * 9000), CENTRAL, 24, "I", 100),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    short = "a member smaller than it says"
    yield opened(
        short,
        lambda: patched(beside(short, b"a" * 100), CENTRAL, 24, "I", 5000),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    crc = "a wrong checksum"
    yield opened(
        crc, lambda: patched(beside(crc, b"a" * 100), CENTRAL, 16, "I", 1), stored=1, rejected__archive_member_damaged=1
    )
    other = "another name in the local header"
    yield opened(
        other,
        lambda: bytes(beside(other, b"a" * 100)).replace(b"bad", b"BAD", 1),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    method = "a method that nobody has"
    yield opened(
        method, lambda: patched(beside(method, b"a" * 100), CENTRAL, 10, "H", 97), stored=1, rejected__archive_method=1
    )
    for number, what in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")):
        packed = f"a bomb packed by {what}"
        yield opened(packed, lambda n=packed, m=number: bytes(_mixed(n, m)), stored=1, rejected__archive_method=1)
    for kind, what in (
        (stat.S_IFLNK, "a link"),
        (stat.S_IFCHR, "a device"),
        (stat.S_IFIFO, "a pipe"),
        (stat.S_IFSOCK, "a socket"),
    ):
        special = f"{what} as a member"
        yield opened(
            special, lambda n=special, k=kind: bytes(_special(n, k)), stored=1, rejected__archive_special_file=1
        )
    nested = "a ZIP in the ZIP"
    yield opened(
        nested, lambda: bytes(beside(nested, bytes(pack({"a": good("inner")})))), stored=1, rejected__nested_archive=1
    )
    bomb = "42 bombs in ZIPs in the ZIP"
    inner = bytes(pack({"b": bytes(1 << 20)}))
    yield opened(
        bomb,
        lambda: bytes(pack({f"{n}.zip": inner for n in range(42)} | {"good": good(bomb)})),
        stored=1,
        rejected__nested_archive=42,
    )
    twice = "one name twice"
    yield opened(
        twice, lambda: bytes(pack({"aa": good(twice), "ab": good(twice + "2")})).replace(b"ab", b"aa"), stored=2
    )
    case_of = "names that differ in case alone"
    yield opened(case_of, lambda: bytes(pack({"IM1": good(case_of), "im1": good(case_of + "2")})), stored=2)
    same = "one instance under fifty names"
    yield opened(
        same, lambda: bytes(pack({f"IM{n}": good(same) for n in range(50)})), stored=1, duplicate__same_bytes=49
    )
    liar = "two versions of one instance"
    yield opened(
        liar,
        lambda: bytes(pack({"a": good(liar), "b": part10(SOPInstanceUID=uid_for(f"archive {liar}"))})),
        stored=1,
        conflict__different_bytes=1,
    )
    prefixed = "a program in front (a self-extracting archive)"
    yield rejected("not-dicom", prefixed, lambda: b"MZ" + bytes(510) + bytes(pack({"a": good(prefixed)})))
    tail = "noise behind the end record"
    yield Case(tail, lambda: bytes(pack({"a": good(tail)})) + bytes(range(200)), EXPANDED, members=(("stored", 1),))
    comment = "a comment with another end record in it"
    yield rejected(
        "archive-damaged", comment, lambda: _commented(pack({"a": good(comment)}), b"x" * 30 + END + bytes(10))
    )
    descriptor = "sizes in a descriptor behind the data"
    yield opened(descriptor, lambda: _streamed(good(descriptor), lies=False), stored=1)
    lying = "a descriptor that lies"
    yield opened(lying, lambda: _streamed(good(lying), lies=True), stored=1)
    bits = "every byte of a member wrong"
    yield opened(
        bits,
        lambda: _spoiled(beside(bits, b"a" * 4000, zipfile.ZIP_DEFLATED)),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    junk = "what operating systems leave"
    yield opened(
        junk,
        lambda: bytes(
            pack({"__MACOSX/._IM1": b"x" * 40, ".DS_Store": b"x" * 40, "Thumbs.db": b"x" * 40, "good": good(junk)})
        ),
        stored=1,
        ignored__system_file=3,
    )
    empty = "empty members"
    yield opened(empty, lambda: bytes(pack({"a": b"", "b": b"", "good": good(empty)})), stored=1, rejected__empty=2)
    disc = "a disc's index that names files outside"
    index = raw.part10(disc, b"", sop_class="1.2.840.10008.1.3.10")
    yield opened(disc, lambda: bytes(pack({"DICOMDIR": index, "IM1": good(disc)})), stored=1, ignored__dicomdir=1)
    hostile = "hostile instances and a good one"
    yield opened(
        hostile,
        lambda: bytes(
            pack(
                {
                    "deep": raw.changed(
                        hostile,
                        (0x00081140, b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 500),
                    ),
                    "uid": raw.changed(hostile, (0x00080018, raw.text(0x00080018, "UI", "../../x"))),
                    "cut": good("cut")[:-9],
                    "page": b"<html></html>",
                    "good": good(hostile),
                }
            )
        ),
        stored=1,
        rejected__too_deep=1,
        rejected__bad_uid=1,
        rejected__truncated=1,
        rejected__not_dicom=1,
    )


def _mixed(name: str, method: int) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bomb", bytes(1 << 20), method)
        archive.writestr("good", good(name))
    return bytearray(file.getvalue())


def _special(name: str, kind: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("special")
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
        archive.writestr("good", good(name))
    return file.getvalue()


def _commented(data: bytearray, comment: bytes) -> bytes:
    struct.pack_into("<H", data, data.index(END) + 20, len(comment))
    return bytes(data) + comment


def _streamed(data: bytes, *, lies: bool) -> bytes:
    """One member whose sizes stand behind its data (APPNOTE 4.3.9), as a program writes it that streams."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    crc = zlib.crc32(data)
    head = struct.pack("<4sHHHHHIIIHH", LOCAL, 20, 8, 8, 0, 33, 0, 0, 0, 1, 0) + b"a"
    told = (1, 2, 3) if lies else (crc, len(packed), len(data))
    behind = struct.pack("<4sIII", b"PK\x07\x08", *told)
    record = (CENTRAL, 20, 20, 8, 8, 0, 33, crc, len(packed), len(data), 1, 0, 0, 0, 0, 0, 0)
    central = struct.pack("<4sHHHHHHIIIHHHHHII", *record) + b"a"
    body = head + packed + behind
    return body + central + struct.pack("<4sHHHHIIH", END, 0, 0, 1, 1, len(central), len(body), 0)


def _spoiled(data: bytearray) -> bytes:
    for at in range(33, 45):
        data[at] ^= 0xFF
    return bytes(data)


NAMES = {
    "walks up": "../../../../etc/passwd",
    "walks up with backslashes": "..\\..\\windows\\system32\\x",
    "is absolute": "/etc/passwd",
    "has a drive": "C:\\Windows\\x",
    "is a share": "\\\\host\\share\\x",
    "is a device": "CON",
    "is a device with an ending": "NUL.dcm",
    "has a stream": "a.dcm:evil.exe",
    "turns its direction": "photo\u202egpj.exe",
    "has line ends": "a\r\nSet-Cookie: x=1",
    "has escapes": "a\x1b[2J\x07b",
    "is markup": "<img src=x onerror=alert(1)>.dcm",
    "is a formula": "=cmd|' /C calc'!A0",
    "is a template": "{{7*7}}{% debug %}",
    "has quotes": "';DROP TABLE ingest_upload;--",
    "is nothing but dots": "..../..../..",
    "is a space": " ",
    "is 900 letters long": "n" * 900,
    "is 300 folders deep": "d/" * 300 + "IM1",
    "is emoji": "\U0001f480" * 60,
    "is not UTF-8": "Müller^Jörg".encode("cp1252").decode("latin-1"),
}


def names() -> Iterator[Case]:
    """Names that are paths, commands or markup: shown, and never used."""
    for what, name in NAMES.items():
        title = f"a name that {what}"
        yield opened(title, lambda title=title, name=name: bytes(pack({name: good(title)})), stored=1)
    endless = "a name of 30,000 letters"
    yield opened(
        endless,
        lambda: bytes(pack({"n" * 30_000: good("x"), "good": good(endless)})),
        stored=1,
        rejected__archive_member_name=1,
    )
    nul = "a name with a NUL"
    yield opened(nul, lambda: bytes(pack({"aXb": good(nul)})).replace(b"aXb", b"a\0b"), stored=1)


def _record(name: bytes, block: int, size: int, flags: int = 0, system: bytes = b"") -> bytes:
    head = struct.pack("<BIIII", 0, block, 0, size, 0)
    body = head[:5] + struct.pack(">I", block) + struct.pack("<I", size) + struct.pack(">I", size)
    body += bytes(7) + bytes([flags, 0, 0]) + struct.pack("<H", 1) + struct.pack(">H", 1)
    body += bytes([len(name)]) + name + b"\0" * (1 - len(name) % 2) + system
    return bytes([len(body) + 1]) + body


def disc(
    files: Mapping[bytes, tuple[int, int, int]], contents: Mapping[int, bytes], *, root: int = 20, size: int = 2048
) -> bytes:
    """An image of a disc: records of the root by name (block, bytes, flags), and what lies in which block."""
    blocks = 40 + sum(len(data) // 2048 + 1 for data in contents.values())
    image = bytearray(blocks * 2048)
    descriptor = bytearray(2048)
    descriptor[:7] = b"\x01CD001\x01"
    struct.pack_into("<H", descriptor, 128, 2048)
    descriptor[156:190] = _record(b"\0", root, size, 2).ljust(34, b"\0")[:34]
    image[16 * 2048 : 17 * 2048] = descriptor
    image[17 * 2048 : 17 * 2048 + 7] = b"\xffCD001\x01"
    listing = _record(b"\0", root, size, 2) + _record(b"\1", root, size, 2)
    listing += b"".join(_record(name, block, length, flags) for name, (block, length, flags) in files.items())
    image[20 * 2048 : 20 * 2048 + len(listing)] = listing
    for block, data in contents.items():
        image[block * 2048 : block * 2048 + len(data)] = data
    return bytes(image)


SIZE = 1500


def sized(name: str) -> bytes:
    """A good instance of exactly SIZE bytes."""
    data = good(name)
    return data + element(0xFFFCFFFC, "OB", bytes(SIZE - len(data) - 12))


def discs() -> Iterator[Case]:
    """Images of discs whose directories lie."""
    size = SIZE
    first = sized("disc")
    yield opened("a disc as it should be", lambda: disc({b"IM1.;1": (30, size, 0)}, {30: first}), stored=1)
    for name, (block, length, flags) in {
        "a directory that holds itself": (20, 2048, 2),
        "a directory in the middle of a file": (30, 0, 2),
    }.items():
        unique = sized(name)
        yield opened(
            name,
            lambda n=name, b=block, s=length, f=flags, u=unique: disc(
                {b"IM1.;1": (30, len(u), 0), b"LOOP": (b, s, f)}, {30: u}
            ),
            stored=1,
        )
    outside = "a file outside of the image"
    yield opened(
        outside,
        lambda: disc({b"A.;1": (0x7FFFFFF0, 5000, 0), b"B.;1": (30, size, 0)}, {30: sized(outside)}),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    huge = "a file of 4 GB"
    yield opened(
        huge,
        lambda: disc({b"A.;1": (30, 0xFFFFFFF0, 0), b"B.;1": (32, size, 0)}, {32: sized(huge)}),
        stored=1,
        rejected__archive_member_damaged=1,
    )
    twice = "one file under twenty names"
    yield opened(
        twice,
        lambda: disc({b"N%02d.;1" % n: (30, size, 0) for n in range(4)}, {30: sized(twice)} | {60: bytes(9000)}),
        stored=1,
        duplicate__same_bytes=3,
    )
    yield rejected(
        "archive-overlap",
        "files that overlap",
        lambda: disc({b"A.;1": (30, 3000, 0), b"B.;1": (31, 900, 0)}, {30: bytes(5000)}),
    )
    yield rejected("disc-damaged", "a root outside of the image", lambda: disc({}, {}, root=0x7FFFFFFF))
    yield rejected(
        "archive-empty",
        "records that lie about their length",
        lambda: _broken_record(disc({b"A.;1": (30, size, 0)}, {30: first})),
    )
    yield rejected("archive-too-many-members", "a root of 2 GB", lambda: disc({}, {}, size=0x7FFFF800))
    yield rejected(
        "disc-damaged", "blocks of no bytes", lambda: _block_size(disc({b"A.;1": (30, size, 0)}, {30: first}))
    )
    yield rejected("archive-empty", "a disc with nothing on it", lambda: disc({}, {}))
    markup = "a disc with markup for names"
    one, two = good(markup), good(markup + "2")
    listed = {b"<B>;1": (30, len(one), 0), b"../../X;1": (32, len(two), 0)}
    yield opened(markup, lambda: disc(listed, {30: one, 32: two}), stored=2)


def _broken_record(image: bytes) -> bytes:
    data = bytearray(image)
    data[20 * 2048] = 255
    return bytes(data)


def _block_size(image: bytes) -> bytes:
    data = bytearray(image)
    struct.pack_into("<H", data, 16 * 2048 + 128, 0)
    return bytes(data)
