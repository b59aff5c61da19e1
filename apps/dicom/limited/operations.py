"""What a limited child can do: each function takes a file and arguments, and returns a JSON value and bytes."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO, Final

import imagecodecs
import numpy as np
import numpy.ma  # used by look-up tables, loaded at their first use
from PIL import Image
from pydicom import charset as pydicom_charset
from pydicom.uid import AllTransferSyntaxes

from apps.dicom import cda, decode, embedded, encapsulate, json_model, pictures, pixels, report
from apps.dicom import reissue as reissuing
from apps.dicom.frames import PixelIndex
from apps.dicom.limited.plain import to_plain
from apps.dicom.parse import parse_header
from apps.dicom.scan import scan

Result = tuple[Any, Iterator[bytes]]
_PIECE_BYTES: Final = 1 << 20


def _pieces(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    return (bytes(view[at : at + _PIECE_BYTES]) for at in range(0, len(view), _PIECE_BYTES))


def parse(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the header's facts, and where the frames are."""
    head: bytes = getattr(file, "head", b"")
    values, index = to_plain(scan(head, file, file.seek(0, io.SEEK_END)) or parse_header(file))
    return values, iter([index])


def metadata(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the DICOM JSON Model, as text; `root`: what URIs of bulk data begin with."""
    root = arguments["root"]
    model = json_model.to_json(parse_header(file).dataset, lambda path: f"{root}/{path}")
    return None, _pieces(json.dumps(model, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())


def bulk_data(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the value representation and the value of the element at `path`."""
    vr, value = json_model.bulk_data(file, parse_header(file), arguments["path"])
    return vr, _pieces(value)


def bundles(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return what is packed into the file as ZIP files, one behind the other, and how long each is."""
    made = list(embedded.bundles(file))
    return [len(bundle) for bundle in made], (piece for bundle in made for piece in _pieces(bundle))


def report_items(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the lines of a structured report."""
    items = report.report_items(parse_header(file).dataset)
    return [[item.depth, item.name, item.value, item.value_type] for item in items], iter(())


def thumbnail(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return a JPEG of the middle frame."""
    return None, _pieces(decode.thumbnail(file, size=arguments["size"]))


def rendered(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return a picture of one frame."""
    return None, _pieces(decode.rendered(file, **arguments))


def decode_frame(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return one frame, uncompressed."""
    index = PixelIndex.from_bytes(bytes.fromhex(arguments["index"]))
    return None, _pieces(decode.decode_frame(file, index, arguments["frame"]))


def transcode(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the instance in Explicit VR Little Endian."""
    return None, _pieces(decode.to_explicit_little_endian(file))


def reissue(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the beginning of the file under another UID, and where the rest of the old one goes on."""
    head, offset = reissuing.reissue(file, arguments["uid"], at=datetime.fromisoformat(arguments["at"]))
    return offset, _pieces(head)


def document_items(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the lines of an encapsulated CDA document."""
    _, content = json_model.bulk_data(file, parse_header(file), "00420011")
    return [[item.depth, item.name, item.value, item.value_type] for item in cda.cda_items(content)], iter(())


def picture_type(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return the media type of a photograph."""
    return pictures.check(file.read()), iter(())


def picture_alone(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return a photograph without what stands beside the picture."""
    return None, _pieces(pictures.without_notes(file.read()))


def picture_small(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return a small JPEG of a photograph."""
    return None, _pieces(pictures.small(file.read(), arguments["size"]))


def photograph(file: BinaryIO, arguments: dict[str, Any]) -> Result:
    """Return a photograph as a DICOM object."""
    subject = encapsulate.Subject.from_plain(arguments["subject"])
    made_at = datetime.fromisoformat(arguments["made_at"])
    title, seed = arguments["title"], arguments["seed"]
    return None, _pieces(encapsulate.photograph(file.read(), subject, title=title, made_at=made_at, seed=seed))


OPERATIONS: Final = {
    function.__name__: function
    for function in (
        parse,
        metadata,
        bulk_data,
        bundles,
        report_items,
        thumbnail,
        rendered,
        decode_frame,
        transcode,
        reissue,
        document_items,
        picture_type,
        picture_alone,
        picture_small,
        photograph,
    )
}


def warm_up() -> None:
    """Load all that is loaded at first use elsewhere: a confined child opens no file, not even its own library."""
    for name in {"utf-8", "latin-1", "ascii", "gb18030", "gbk", *pydicom_charset.python_encoding.values()}:
        with contextlib.suppress(LookupError):
            codecs.lookup(name)
    Image.init()
    for name in ("JPEG", "PNG"):
        out = io.BytesIO()
        Image.fromarray(np.zeros((16, 16), np.uint8)).resize((8, 8)).save(out, name)
        Image.open(out).load()
    imagecodecs.jpeg_decode(imagecodecs.jpeg_encode(np.zeros((16, 16), np.uint8)))
    for syntax in AllTransferSyntaxes:
        pixels.can_decode(syntax)
