"""What a file is, by its content."""

import pytest

from apps.ingest.recognise import Kind, is_system_file, recognise

PREAMBLE = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", Kind.EMPTY),
        (PREAMBLE, Kind.DICOM),
        (b"%PDF-1.7\n", Kind.PDF),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", Kind.JPEG),
        (b"\x89PNG\r\n\x1a\n", Kind.PNG),
        (b"PK\x03\x04rest", Kind.ARCHIVE),
        (b"PK\x05\x06" + bytes(18), Kind.ARCHIVE),
        (b"MZ\x90\x00", Kind.OTHER),
        (b"\x7fELF", Kind.OTHER),
        (b"<html>", Kind.OTHER),
        (b"<svg xmlns", Kind.OTHER),
    ],
)
def test_the_content_decides(head: bytes, kind: Kind) -> None:
    assert recognise(head) is kind


@pytest.mark.parametrize("disguise", [b"%PDF-1.7", b"MZ", b"PK\x03\x04", b"\xff\xd8\xff", b"<html>"])
def test_what_the_preamble_pretends_does_not_count(disguise: bytes) -> None:
    assert recognise(disguise.ljust(128, b"\0") + b"DICM") is Kind.DICOM


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "a/.DS_Store", "__MACOSX/a/._IM1", "a/._IM1", "AUTORUN.INF", "VIEWER/run.EXE", "a/b.dll"]
)
def test_leftovers_of_operating_systems_are_told_apart(name: str) -> None:
    assert is_system_file(name)


def test_an_image_is_no_leftover() -> None:
    assert not is_system_file("DICOM/IM0001")
