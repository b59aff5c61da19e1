import io

import pytest
from PIL import Image

from apps.studies.documents import MAX_BYTES, check_document, title_of
from apps.studies.errors import DocumentRefusedError

PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n"


def picture(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(PDF, "application/pdf"), (picture("JPEG"), "image/jpeg"), (picture("PNG"), "image/png")],
)
def test_documents_are_known_by_their_content(content: bytes, media_type: str) -> None:
    assert check_document(io.BytesIO(content)) == media_type


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><script>alert(1)</script></html>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"MZ\x90\x00" + PDF,
        PDF[:-8],
        PDF + b"PK\x03\x04" + b"x" * 5000,
        picture("JPEG")[:200],
        picture("PNG")[:60],
        picture("GIF"),
        b"\xff\xd8\xff\xe0 not a photo",
        b"\x89PNG\r\n\x1a\n not a picture",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(DocumentRefusedError):
        check_document(io.BytesIO(content))


def test_a_document_may_not_be_endless() -> None:
    with pytest.raises(DocumentRefusedError, match="50 MB"):
        check_document(io.BytesIO(PDF + b"\0" * MAX_BYTES))


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("letter.pdf", "letter"),
        ("C:\\Users\\x\\Arztbrief Müller.PDF", "Arztbrief Müller"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x=1.pdf", "a Set-Cookie x=1"),
        ("\u202egnp.exe.png", "gnp.exe"),
        ("..", "Document"),
        ("", "Document"),
        ("x" * 500 + ".pdf", "x" * 200),
    ],
)
def test_titles_are_one_plain_line(name: str, title: str) -> None:
    assert title_of(name) == title
