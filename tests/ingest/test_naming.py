"""Names are shown, never opened."""

import pytest

from apps.ingest.naming import MAX_NAME_LENGTH, display_name

TRAVERSALS = [
    "../../etc/passwd",
    "..\\..\\windows\\system32\\config",
    "/etc/passwd",
    "//server/share/file",
    "\\\\server\\share\\file",
    "C:\\temp\\a.dcm",
    "c:/temp/a.dcm",
    "file:///etc/passwd",
    "a/../../b",
    "a/./b",
    "./a",
    ".../...//a",
    "..",
    ".",
    "/",
    "\\",
    "",
    " ",
    "....//....//a",
    "..%2f..%2fa",
    "..%252f..%252fa",
    "..;/a",
    "a\x00.dcm",
    "a\r\nSet-Cookie: b=c",
    "\u202egnp.exe",
    "a\u2028b",
    "..\u2215..\u2215a",
    "..\uff0f..\uff0fa",
    "a" * 4000,
    "/".join(["a"] * 400),
    "CON",
    "~/.ssh/id_rsa",
    "$(touch a)",
    "`id`",
    "\ud800lone",
]


@pytest.mark.parametrize("raw", TRAVERSALS)
def test_a_name_walks_nowhere_and_hides_nothing_UPL_05(raw: str) -> None:
    name = display_name(raw)
    assert 0 < len(name) <= MAX_NAME_LENGTH
    assert not name.startswith(("/", "\\"))
    assert "\\" not in name
    assert not {"", ".", ".."} & set(name.split("/"))
    assert name.replace(" ", "a").isprintable()
    assert name == name.encode("utf-8").decode("utf-8")


def test_folders_stay_readable() -> None:
    assert display_name("CD\\DICOM\\PAT001/IM 0001") == "CD/DICOM/PAT001/IM 0001"


def test_the_end_of_a_long_name_is_kept() -> None:
    assert display_name("x/" * 300 + "IM0007.dcm").endswith("x/IM0007.dcm")
