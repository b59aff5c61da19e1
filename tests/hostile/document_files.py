"""Documents that are something else, too, or want to be more than they are (CONTROLS UPL-06, WEB-04, WEB-05)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from tests.hostile.cases import EXPANDED, Case, rejected, stored
from tests.ingest.files import zipped

REFUSED = "document-refused"


def pdf(*objects: bytes, catalog: bytes = b"") -> bytes:
    """A small PDF with these objects."""
    body = (
        b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R"
        + catalog
        + b">>\nendobj\n2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\n"
    )
    for number, content in enumerate(objects, 3):
        body += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    return body + b"trailer\n<</Root 1 0 R>>\n%%EOF\n"


def picture(kind: str = "JPEG", size: tuple[int, int] = (48, 32), mode: str = "RGB", **options: Any) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new(mode, size, 77 if mode in ("L", "1", "P") else "teal").save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, data: bytes = b"", more: bytes = b"") -> bytes:
    """A PNG of any size with any data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def document_cases() -> Iterator[Case]:
    """Every document of the corpus, to be attached to a study."""
    yield from pdfs()
    yield from pictures()
    yield from disguises()


def pdfs() -> Iterator[Case]:
    """PDFs that run, open or carry something: kept as files, since forms of honest senders do so, and never opened."""
    script = b"<</S/JavaScript/JS(app.alert\\(1\\))>>"
    actions = {
        "a PDF with a script": pdf(script, catalog=b"/OpenAction 3 0 R"),
        "a PDF that starts a program": pdf(b"<</S/Launch/F(cmd.exe)>>", catalog=b"/OpenAction 3 0 R"),
        "a PDF that opens an address": pdf(b"<</S/URI/URI(javascript:alert\\(1\\))>>", catalog=b"/OpenAction 3 0 R"),
        "a PDF that sends a form": pdf(b"<</S/SubmitForm/F(http://127.0.0.1/)>>", catalog=b"/OpenAction 3 0 R"),
        "a PDF with a file in it": pdf(b"<</Type/EmbeddedFile/Length 4>>\nstream\nMZ\x90\0\nendstream"),
        "a PDF with XFA": pdf(b"<</Length 8>>\nstream\n<script>\nendstream", catalog=b"/AcroForm<</XFA 3 0 R>>"),
        "a PDF whose pages hold each other": pdf(b"<</Type/Pages/Kids[3 0 R]/Count 9/Parent 3 0 R>>"),
        "a PDF with a bomb in a stream": pdf(
            b"<</Filter/FlateDecode/Length 9>>\nstream\n" + zlib.compress(bytes(4 << 20)) + b"\nendstream"
        ),
        "a PDF that is a page, too": pdf(b"(<html><script>alert(1)</script></html>)"),
        "a PDF that says it has a password": pdf(catalog=b"/Encrypt 3 0 R"),
        "a PDF of nothing": b"%PDF-1.0\n%%EOF\n",
    }
    for name, content in actions.items():
        yield stored(name, lambda content=content: content)
    broken = {
        "a PDF without an end": pdf()[:-9],
        "a PDF with an archive behind it": pdf() + zipped({"a": bytes(range(256)) * 20}, 0),
        "the beginning of a PDF alone": b"%PDF-",
        "a PDF with 3 kB behind its end": pdf() + b"x" * 3000,
    }
    for name, content in broken.items():
        yield rejected(REFUSED, name, lambda content=content: content)


def pictures() -> Iterator[Case]:
    """Pictures that lie about their size, or have more in them than a picture."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Phone of Ottilie Quellenhuber", 3
    exif.get_ifd(0x8825).update({1: "N", 2: (48.1, 8.2, 0.0), 3: "E", 4: (9.0, 1.0, 0.0)})
    grey = zlib.compress(b"".join(b"\0" + bytes(8) for _ in range(8)))
    kept = {
        "a photograph that tells where it was taken": picture(exif=exif),
        "a photograph with a script for a comment": picture(comment=b"<script>alert(1)</script>"),
        "a photograph with an archive behind it": picture() + zipped({"evil.class": b"x" * 300}),
        "a photograph with a page behind it": picture() + b"<html><script>alert(1)</script></html>",
        "a photograph with a second one behind it": picture() + picture(size=(9, 9)),
        "a photograph in four colours": picture(mode="CMYK"),
        "a picture with a page in its text": png(8, 8, data=grey, more=chunk(b"tEXt", b"c\0<script>alert(1)</script>")),
        "a picture with a bomb in its text": png(
            8, 8, data=grey, more=chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(900_000)))
        ),
        "a picture with an archive behind it": png(8, 8, data=grey) + zipped({"a": b"x"}),
        "a picture with a chunk that nobody knows": png(8, 8, data=grey, more=chunk(b"evIl", b"MZ\x90\0" * 50)),
        "a picture with a profile of rubbish": png(
            8, 8, data=grey, more=chunk(b"iCCP", b"x\0\0" + zlib.compress(b"rubbish"))
        ),
    }
    for name, content in kept.items():
        yield stored(name, lambda content=content: content)
    jpeg = picture()
    refused: dict[str, Callable[[], bytes]] = {
        "a bomb of 30,000 x 30,000 pixels": lambda: png(30_000, 30_000, bits=1, data=zlib.compress(bytes(1 << 20))),
        "a picture of 2 billion pixels a side": lambda: png(0x7FFFFFFF, 0x7FFFFFFF, data=b"x"),
        "a picture of no pixels": lambda: png(0, 0, data=zlib.compress(b"")),
        "a picture whose data end early": lambda: png(500, 500, data=zlib.compress(bytes(100))),
        "a picture with rubbish for data": lambda: png(8, 8, data=b"rubbish"),
        "a picture cut in the middle": lambda: png(8, 8, data=grey)[:60],
        "a photograph of 65,500 x 65,500 pixels": lambda: _resized(jpeg, 65_500, 65_500),
        "a photograph cut in the middle": lambda: jpeg[: len(jpeg) // 2],
        "a photograph of its first bytes": lambda: jpeg[:20],
        "a photograph of markers": lambda: b"\xff\xd8" + b"\xff\xe0\0\x04ab" * 4000,
        "a photograph without tables": lambda: b"\xff\xd8" + jpeg[jpeg.index(b"\xff\xc0") :],
    }
    for name, make in refused.items():
        yield rejected(REFUSED, name, make)
    yield stored("a photograph that says it is wider", lambda: _resized(jpeg, 32, 60))


def _resized(jpeg: bytes, height: int, width: int) -> bytes:
    data = bytearray(jpeg)
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def disguises() -> Iterator[Case]:
    """What is no document, whatever it is called."""
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    others = {
        "a page, called PDF.pdf": b"<!doctype html><script>alert(document.domain)</script>" * 4,
        "SVG, called picture.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>" * 3,
        "XML with a stylesheet": b"<?xml version='1.0'?><?xml-stylesheet href='x.xsl'?><a/>" * 4,
        "a GIF": gif,
        "a GIF that is an archive, too": gif + zipped({"Evil.class": b"\xca\xfe\xba\xbe" * 30}),
        "a program in front of a PDF": b"MZ\x90\0" + pdf(),
        "a line in front of a PDF": b"\n" + pdf(),
        "TIFF": picture("TIFF"),
        "BMP": picture("BMP"),
        "WebP": picture("WEBP"),
        "an icon": picture("ICO"),
        "PostScript": b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n" * 5,
        "Rich Text": rb"{\rtf1{\object\objdata 0105}}" * 8,
        "an old Word file": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "a shortcut": b"L\0\0\0\x01\x14\x02\0" + bytes(200),
        "a script": b"#!/usr/bin/env python3\nimport os\n" * 6,
        "a mail": b"From: a@b\r\nContent-Type: text/html\r\n\r\n<script>1</script>\r\n" * 3,
    }
    for name, content in others.items():
        yield rejected("not-dicom", name, lambda content=content: content)
    word = zipped({"[Content_Types].xml": b"<x/>" * 40, "word/vbaProject.bin": b"MZ" * 90})
    yield Case("a Word file with macros", lambda: word, EXPANDED, members=(("rejected not-dicom", 2),))
