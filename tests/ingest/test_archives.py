"""ZIP archives that are honest, broken, or want to do harm (CONTROLS UPL-03)."""

import io
import stat
import struct
import zipfile

import pytest

from apps.ingest.archives import Archive, ArchiveLimits
from apps.ingest.errors import ArchiveError, MemberError

SMALL = ArchiveLimits(
    members=20,
    directory_bytes=4096,
    member_bytes=1 << 20,
    total_bytes=2 << 20,
    member_ratio_above_bytes=1 << 16,
    total_ratio_above_bytes=1 << 17,
)


def pack(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bytearray(file.getvalue())


def noise(size: int) -> bytes:
    """Bytes that hardly compress, the same in every run."""
    return b"".join(struct.pack("<I", (n * 2654435761) & 0xFFFFFFFF) for n in range(size // 4))


def open_archive(data: bytes, limits: ArchiveLimits = SMALL) -> Archive:
    return Archive(io.BytesIO(bytes(data)), limits)


def refusal(data: bytes, limits: ArchiveLimits = SMALL) -> str:
    with pytest.raises(ArchiveError) as caught:
        open_archive(data, limits)
    assert str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_out_as_they_went_in(method: int) -> None:
    members = {"a/b/IM1": noise(70_000), "IM2": b"two", "empty": b""}
    archive = open_archive(pack(members, method))
    assert {m.name: b"".join(archive.read(m)) for m in archive.members} == members


def test_folders_are_no_members() -> None:
    archive = open_archive(pack({"a/": b"", "a/IM1": b"one"}))
    assert [member.name for member in archive.members] == ["a/IM1"]


def test_two_members_of_one_name_are_both_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("IM1", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("IM1", b"two")
    opened = open_archive(file.getvalue())
    assert [b"".join(opened.read(member)) for member in opened.members] == [b"one", b"two"]


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04", b"PK\x05\x06", b"PK\x03\x04" + bytes(500), pack({"a": b"a" * 900})[:-30]]
)
def test_a_broken_directory_is_named(data: bytes) -> None:
    assert refusal(data) == "archive-damaged"


def test_more_members_than_are_taken() -> None:
    assert refusal(pack({f"m{n}": b"" for n in range(21)})) == "archive-too-many-members"


def test_a_huge_directory_is_not_read_into_memory() -> None:
    assert refusal(pack({f"{n:0200}": b"" for n in range(30)})) == "archive-too-many-members"


def test_one_member_that_expands_without_bound() -> None:
    assert refusal(pack({"bomb": bytes(1 << 19)})) == "archive-expands"


def test_many_members_that_expand_together() -> None:
    bomb = pack({f"m{n}": noise(60) * 500 for n in range(10)})
    assert refusal(bomb) == "archive-expands"


def test_more_than_the_total() -> None:
    assert refusal(pack({f"m{n}": noise(1 << 19) for n in range(5)}, zipfile.ZIP_STORED)) == "archive-expands"


def test_a_black_image_is_no_bomb() -> None:
    archive = Archive(io.BytesIO(pack({"IM1": bytes(524_288)})))
    assert [member.size_bytes for member in archive.members] == [524_288]


def test_a_member_never_yields_more_than_it_declared() -> None:
    data = pack({"liar": noise(60) * 500})
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, 100)  # the size it claims: 100 bytes
    archive = open_archive(data)
    with pytest.raises(MemberError) as caught:
        list(archive.read(archive.members[0]))
    assert caught.value.code == "archive-member-damaged"


def test_a_member_that_ends_early() -> None:
    data = pack({"short": b"a" * 100})
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, 5000)
    archive = open_archive(data)
    with pytest.raises(MemberError):
        list(archive.read(archive.members[0]))


def test_a_wrong_checksum_costs_one_member_only() -> None:
    data = pack({"IM1": noise(400), "IM2": b"two"}, zipfile.ZIP_STORED)
    data[60] ^= 1
    archive = open_archive(data)
    with pytest.raises(MemberError):
        list(archive.read(archive.members[0]))
    assert b"".join(archive.read(archive.members[1])) == b"two"


def test_local_and_central_name_differ() -> None:
    data = pack({"IM1": b"one"})
    data[30:33] = b"XX1"
    archive = open_archive(data)
    with pytest.raises(MemberError):
        list(archive.read(archive.members[0]))


def test_members_that_share_their_data() -> None:
    """One kernel referred to by every entry: full overlap."""
    data = pack({f"m{n}": noise(4000) for n in range(3)})
    at = data.index(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<I", data, at + 42, 0)
        at = data.find(b"PK\x01\x02", at + 4)
    assert refusal(data) == "archive-overlap"


def test_members_that_reach_into_their_neighbours() -> None:
    """The first entry's data quotes the header of the second (Fifield)."""
    data = pack({"a": noise(4000), "b": noise(4000)})
    at = data.index(b"PK\x01\x02")
    size = struct.unpack_from("<I", data, at + 20)[0]
    struct.pack_into("<I", data, at + 20, size + 500)
    assert refusal(data) == "archive-overlap"


def test_a_member_that_reaches_into_the_directory() -> None:
    data = pack({"a": noise(4000)})
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 20, len(data))
    assert refusal(data) == "archive-overlap"


def test_a_password_is_asked_for_in_words() -> None:
    data = pack({"a": b"secret"})
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 8, 1)
    assert refusal(data) == "archive-encrypted"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices_are_refused(kind: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    member = open_archive(file.getvalue()).members[0]
    assert member.problem is not None
    assert member.problem.code == "archive-special-file"


def test_methods_that_are_not_read_are_named() -> None:
    member = open_archive(pack({"a": b"a" * 900}, zipfile.ZIP_BZIP2)).members[0]
    assert member.problem is not None
    assert member.problem.code == "archive-method"


def test_an_endless_name_costs_one_member() -> None:
    archive = open_archive(pack({"n" * 2000: b"a", "b": b"b"}))
    assert [member.problem.code if member.problem else "" for member in archive.members] == ["archive-member-name", ""]


def test_names_that_walk_stay_names() -> None:
    archive = open_archive(pack({"../../etc/passwd": b"a", "/abs": b"b"}))
    assert [member.name for member in archive.members] == ["etc/passwd", "abs"]


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_any_flipped_byte_is_answered(at: int) -> None:
    data = pack({"IM1": noise(64), "IM2": b"two"}, zipfile.ZIP_STORED)
    data[at % len(data)] ^= 0xFF
    try:
        archive = open_archive(data)
    except ArchiveError:
        return
    for member in archive.members:
        try:
            assert sum(map(len, archive.read(member))) == member.size_bytes
        except MemberError:
            continue
