"""What is packed into a DICOM file, taken out so that a virus scanner sees it as the files that it is.

A scanner that knows no DICOM looks at a file as one run of bytes. It misses what is deflated, and every signature that
is made of a whole file or of its beginning: a document, or whatever somebody put into a private element. So the values
are handed over one by one, bundled as plain ZIP files, which every scanner opens.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from .elements import BINARY_VRS
from .parse import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA, HeaderDataset, dataset_file, parse_header

MIN_BYTES: Final = 32
"""No program is shorter, and most values are."""
BUNDLE_FILES: Final = 4000
BUNDLE_BYTES: Final = 32 << 20
"""A scanner has limits for what one stream may hold; a single larger value makes a bundle of its own."""
_PIXEL_TAGS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})
_PADDING: Final = (b"\0", b" ")
_ENCAPSULATED_DOCUMENT: Final = 0x00420011
_ENCAPSULATED_DOCUMENT_LENGTH: Final = 0x00420015


def bundles(file: BinaryIO) -> Iterator[bytes]:
    """Yield ZIP files, uncompressed, of every value of 32 bytes or more but the pixels; of none, nothing.

    Of a deflated file the inflated data set comes first. Raises what `parse_header` raises.
    """
    taken: list[bytes] = []
    size = 0
    for value in _distinct(_values(file)):
        if taken and (len(taken) >= BUNDLE_FILES or size + len(value) > BUNDLE_BYTES):
            yield _bundle(taken)
            taken, size = [], 0
        taken.append(value)
        size += len(value)
    if taken:
        yield _bundle(taken)


def _bundle(values: list[bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, value in enumerate(values):
            archive.writestr(zipfile.ZipInfo(str(number)), value)
    return out.getvalue()


def _distinct(values: Iterator[bytes]) -> Iterator[bytes]:
    seen: set[int] = set()
    for value in values:
        # Padding to an even length (PS3.5 6.2) is no part of what was packed.
        for form in (value, value[:-1]) if value.endswith(_PADDING) else (value,):
            if len(form) >= MIN_BYTES and (mark := hash(form)) not in seen:
                seen.add(mark)
                yield form


def _values(file: BinaryIO) -> Iterator[bytes]:
    header = parse_header(file)
    inner = dataset_file(file, header)
    if inner is not file:
        yield inner.read()
    yield from _of_places(inner, header.dataset)
    yield from _of_elements(header.dataset)


def _of_places(file: BinaryIO, dataset: HeaderDataset) -> Iterator[bytes]:
    for place in dataset.places.values():
        if place.tag in _PIXEL_TAGS:
            continue
        file.seek(place.offset)
        value = file.read(place.length)
        yield value
        if place.tag == _ENCAPSULATED_DOCUMENT and _ENCAPSULATED_DOCUMENT_LENGTH in dataset:
            length = dataset[_ENCAPSULATED_DOCUMENT_LENGTH].value
            if isinstance(length, int) and 0 < length < len(value):
                yield value[:length]


def _of_elements(dataset: Dataset) -> Iterator[bytes]:
    pending: list[Dataset] = [dataset]
    while pending:
        item = pending.pop()
        for tag, element in list(item.items()):
            if isinstance(element, RawDataElement):
                value = element.value
                if isinstance(value, bytes) and len(value) >= MIN_BYTES and element.VR != "SQ":
                    yield value
                if element.VR not in ("SQ", "UN", None):
                    continue
            converted = item[tag].value
            if isinstance(converted, DicomSequence):
                pending.extend(converted)
            elif isinstance(converted, bytes) and item[tag].VR in BINARY_VRS:
                yield converted
