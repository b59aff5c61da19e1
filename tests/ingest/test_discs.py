"""Images of discs: names of every kind, and what no honest disc says."""

import io
import struct
from contextlib import suppress
from typing import Any

import pytest
from pycdlib import PyCdlib

from apps.access.services import Principal
from apps.ingest import transfers
from apps.ingest.archives import ArchiveLimits
from apps.ingest.containers import open_archive
from apps.ingest.discs import SECTOR_BYTES, Disc
from apps.ingest.errors import ArchiveError, MemberError
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.recognise import Kind, recognise_file
from apps.jobs.services import process_until_idle
from tests.ingest.files import part10, series, zipped

FILES = {"/DICOMDIR": b"DICOMDIR", "/IMAGES/IM1": b"one" * 1000, "/IMAGES/SERIES2/IM2": b"two", "/EMPTY": b""}


def burnt(files: dict[str, bytes], **kind: Any) -> bytes:
    """The image of a disc with these files; folders are made."""
    disc = PyCdlib()
    disc.new(interchange_level=3, **kind)
    made = set()
    for path, data in files.items():
        parts = path.split("/")[1:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            if folder not in made:
                made.add(folder)
                disc.add_directory(folder.upper(), **names(folder, kind))
        disc.add_fp(io.BytesIO(data), len(data), f"{path.upper()}{'' if '.' in path else '.'};1", **names(path, kind))
    out = io.BytesIO()
    disc.write_fp(out)
    disc.close()
    return out.getvalue()


def names(path: str, kind: dict[str, Any]) -> dict[str, str]:
    joliet = {"joliet_path": path} if "joliet" in kind else {}
    return joliet | ({"rr_name": path.rpartition("/")[2]} if "rock_ridge" in kind else {})


def contents(disc: Disc) -> dict[str, bytes]:
    return {member.name: b"".join(disc.read(member)) for member in disc.members}


@pytest.mark.parametrize("kind", [{}, {"joliet": 3}, {"rock_ridge": "1.09"}, {"joliet": 3, "rock_ridge": "1.12"}])
def test_every_file_of_a_disc_is_found(kind: dict[str, Any]) -> None:
    image = burnt(FILES, **kind)
    assert recognise_file(io.BytesIO(image)) is Kind.DISC
    disc = open_archive(io.BytesIO(image))
    assert isinstance(disc, Disc)
    assert contents(disc) == {name[1:]: data for name, data in FILES.items()}
    assert [member.size_bytes for member in disc.members if member.name == "IMAGES/IM1"] == [3000]


def test_long_names_are_those_of_joliet_and_rock_ridge() -> None:
    long = "Eine Aufnahme von Jörg, 3. Juli, mit Kontrastmittel.dcm"
    for kind in ({"joliet": 3}, {"rock_ridge": "1.09"}):
        disc = PyCdlib()
        disc.new(interchange_level=3, **kind)
        disc.add_fp(io.BytesIO(b"x"), 1, "/SHORT.;1", **names(f"/{long}", kind))
        out = io.BytesIO()
        disc.write_fp(out)
        assert [member.name for member in Disc(io.BytesIO(out.getvalue())).members] == [long]


def test_a_symbolic_link_is_never_followed_UPL_05() -> None:
    disc = PyCdlib()
    disc.new(interchange_level=3, rock_ridge="1.09")
    disc.add_symlink("/LINK.;1", "link", "../../etc/passwd")
    out = io.BytesIO()
    disc.write_fp(out)
    opened = Disc(io.BytesIO(out.getvalue()))
    [link] = opened.members
    with pytest.raises(MemberError) as caught:
        list(opened.read(link))
    assert caught.value.code == "archive-special-file"


def record(name: bytes, block: int, size: int, flags: int = 0) -> bytes:
    """One directory record (ECMA-119 9.1)."""
    length = 33 + len(name) + (1 - len(name) % 2)
    both = struct.pack("<I", block) + struct.pack(">I", block) + struct.pack("<I", size) + struct.pack(">I", size)
    head = bytes([length, 0]) + both + bytes(7) + bytes([flags, 0, 0, 1, 0, 0, 1, len(name)]) + name
    return head + bytes(length - len(head))


def forged(*directories: bytes, root_bytes: int = SECTOR_BYTES, block_bytes: int = 2048, tail: int = 8) -> bytes:
    """An image whose sectors from 18 on are these directories, the first of them the root; `tail` sectors follow."""
    primary = bytearray(SECTOR_BYTES)
    primary[:7] = b"\x01CD001\x01"
    primary[128:132] = struct.pack("<H", block_bytes) + struct.pack(">H", block_bytes)
    primary[156:190] = record(b"\0", 18, root_bytes, 2)
    end = b"\xffCD001\x01".ljust(SECTOR_BYTES, b"\0")
    sectors = b"".join(directory.ljust(SECTOR_BYTES, b"\0") for directory in directories)
    return bytes(16 * SECTOR_BYTES) + bytes(primary) + end + sectors + bytes(tail * SECTOR_BYTES)


SELF = record(b"\0", 18, SECTOR_BYTES, 2) + record(b"\1", 18, SECTOR_BYTES, 2)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "cut off behind the signature": (burnt(FILES)[: 16 * SECTOR_BYTES + 6], "disc-damaged"),
    "cut off in the descriptors": (burnt(FILES)[: 17 * SECTOR_BYTES], "disc-damaged"),
    "no descriptor but the end": (bytes(16 * SECTOR_BYTES) + b"\xffCD001\x01".ljust(SECTOR_BYTES), "disc-unsupported"),
    "a root outside the image": (forged(SELF, root_bytes=1 << 20), "disc-damaged"),
    "a root without end": (forged(SELF, root_bytes=(1 << 32) - 1), "archive-too-many-members"),
    "blocks of an odd size": (forged(SELF, block_bytes=7), "disc-damaged"),
    "a record longer than its sector": (forged(SELF + bytes([255]) + bytes(8)), "disc-damaged"),
    "a name longer than its record": (forged(SELF + bytes([40]) + bytes(31) + b"\xff" + bytes(8)), "disc-damaged"),
    "a file that never ends": (forged(SELF + record(b"A", 20, 10, 0x80)), "disc-damaged"),
    "files over one another": (
        forged(SELF + record(b"A", 20, 4096) + record(b"B", 21, 4096)),
        "archive-overlap",
    ),
    "one file listed a thousand times": (
        forged(*[b"".join([SELF, *[record(f"F{n}".encode(), 19, 8 * 2048) for n in range(40)]])]),
        "archive-expands",
    ),
}  # fmt: skip


def test_what_no_honest_disc_says_is_refused_UPL_03() -> None:
    for name, (image, code) in HOSTILE.items():
        with pytest.raises(ArchiveError) as caught:
            Disc(io.BytesIO(image))
        assert caught.value.code == code, name
        assert str(caught.value.message)


def test_directories_that_lead_back_are_walked_once_UPL_03() -> None:
    down = record(b"DOWN", 19, SECTOR_BYTES, 2)
    up = record(b"UP", 18, SECTOR_BYTES, 2)
    image = forged(SELF + down + record(b"A", 21, 3), SELF + up + down + record(b"B", 22, 3))
    assert [member.name for member in Disc(io.BytesIO(image)).members] == ["A", "DOWN/B"]


def test_a_file_outside_the_image_costs_only_itself() -> None:
    image = forged(SELF + record(b"GONE", 5000, 3) + record(b"HERE", 20, 3))
    disc = Disc(io.BytesIO(image))
    gone, here = disc.members
    assert gone.problem
    assert gone.problem.code == "archive-member-damaged"
    assert b"".join(disc.read(here)) == bytes(3)


def test_a_disc_within_its_limits_only_UPL_03() -> None:
    image = burnt({f"/F{number}": b"x" * 5000 for number in range(30)})
    for limits, code in (
        (ArchiveLimits(members=29), "archive-too-many-members"),
        (ArchiveLimits(member_bytes=4999), "archive-expands"),
        (ArchiveLimits(total_bytes=100_000), "archive-expands"),
        (ArchiveLimits(directory_bytes=100), "archive-too-many-members"),
    ):
        with pytest.raises(ArchiveError) as caught:
            Disc(io.BytesIO(image), limits)
        assert caught.value.code == code
    assert len(Disc(io.BytesIO(image)).members) == 30


def test_flipped_bytes_never_do_more_than_be_refused() -> None:
    """Every byte of the descriptors and directories, turned over, one at a time in steps."""
    image = bytearray(burnt(FILES, joliet=3, rock_ridge="1.09"))
    for at in range(16 * SECTOR_BYTES, min(len(image), 40 * SECTOR_BYTES), 97):
        image[at] ^= 0xFF
        with suppress(ArchiveError):
            disc = Disc(io.BytesIO(bytes(image)))
            for member in disc.members:
                assert sum(map(len, disc.read(member))) <= len(image)
        image[at] ^= 0xFF


def test_an_uploaded_disc_is_taken_file_by_file(alice_acts: Principal, batch: UploadBatch) -> None:
    images = series(3)
    files = {f"/DICOM/IM{number}": data for number, data in enumerate(images)}
    files |= {"/DICOMDIR": part10(), "/AUTORUN.INF": b"[autorun]", "/MORE.ZIP": zipped({"a": b"x"})}
    image = burnt(files, joliet=3)
    transfer = transfers.begin(alice_acts, batch, length_bytes=len(image), name="CD.iso")
    half = len(image) // 2
    transfers.append(alice_acts, transfer, 0, [image[:half]])
    transfers.append(alice_acts, transfer, half, [image[half:]])
    process_until_idle()
    states = dict(Upload.objects.values_list("name", "state"))
    assert states.pop("CD.iso") == "expanded"
    assert states.pop("AUTORUN.INF") == "ignored"
    assert states.pop("MORE.ZIP") == "rejected"
    assert set(states.values()) == {"stored"}
    assert len(states) == 4
