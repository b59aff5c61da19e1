"""Series metadata: one prepared blob a series, handed on as it is wherever possible.

The blob is gzip'd DICOM JSON of all instances. Its bulk data URIs are relative to the root of the service, since the
same blob is read under a clinic and under share links; they are made whole on the way out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from apps.dicomweb.parameters import ATTRIBUTE_OF_TAG, Search
from apps.dicomweb.results import DicomJson, tags
from apps.studies.models import Instance, Series
from apps.studies.services import series_metadata

# Within JSON text this is never part of a value, where the quotes would be escaped.
_KEY = b'"BulkDataURI":"studies/'
_SOP_INSTANCE_UID = "00080018"
MIN_GZIP_BYTES = 18
MAX_ROOM_BYTES = 64 << 20
PIECE_BYTES = 128 << 10
MAX_CUTS = 32

# Attributes of the General Series and Equipment modules (PS3.3 C.7.3.1, C.7.5.1) that are the same in every instance.
_SERIES_TAGS = tags(
    "00080070 00080080 00081010 00081040 00081050 00081070 00081090 00081111 00180015 00181000 00181020 00181030"
    " 00185100 00200052 00200060 00201040 00400244 00400245 00400250 00400251 00400253 00400254 00400260 00400275"
    " 00080005 00080201 00102210"
)


def series_json(series: Series, root: str) -> tuple[bytes, bool]:
    """Return the metadata of a series and whether it is gzip'd.

    Without references to bulk data the stored gzip goes out untouched; with them they are made whole first.
    """
    packed = series_metadata(series)
    plain = unpack(packed)
    whole = _absolute(plain, root)
    return (packed, True) if whole is plain else (whole, False)


def long_json(series: Series, root: str) -> Iterator[bytes] | None:
    """Return the metadata of a long series as JSON text in pieces, None for one that is sent in one piece.

    The client reads the first piece while the next is unpacked.
    """
    packed = series_metadata(series)
    return _pieces(packed, root) if _length_of(packed) > 2 * PIECE_BYTES else None


def _pieces(packed: bytes, root: str) -> Iterator[bytes]:
    machine = zlib.decompressobj(31)
    rest = b""
    while packed:
        text = rest + machine.decompress(packed, PIECE_BYTES)
        packed = machine.unconsumed_tail
        # No reference reaches across the end of an object.
        end = text.rfind(b"}") + 1 if packed else len(text)
        yield _absolute(text[:end], root)
        rest = text[end:]
    yield _absolute(rest + machine.flush(), root)


def stored_json(series: Series) -> bytes:
    """Return the metadata of a series as it is stored: gzip'd, its references relative to the root of the service."""
    return series_metadata(series)


def plain_json(series: Series, root: str) -> bytes:
    """Return the metadata of a series as JSON text."""
    body, is_packed = series_json(series, root)
    return unpack(body) if is_packed else body


def pack(body: bytes) -> bytes:
    """Return gzip'd bytes, quickly rather than small: this is done while somebody waits."""
    compressor = zlib.compressobj(1, wbits=31)
    return compressor.compress(body) + compressor.flush()


def unpack(body: bytes) -> bytes:
    """Return what `pack`, or the index, packed."""
    # Room for all of it at once saves copying it while it grows.
    return zlib.decompress(body, 31, min(_length_of(body), MAX_ROOM_BYTES) or zlib.DEF_BUF_SIZE)


def _length_of(body: bytes) -> int:
    """Return how long gzip'd bytes were, as they say at their end (RFC 1952 2.3.1)."""
    return int.from_bytes(body[-4:], "little") if len(body) >= MIN_GZIP_BYTES else 0


def study_json(series: Iterable[Series], root: str) -> Iterator[bytes]:
    """Yield the metadata of a study, series by series, as one JSON array."""
    is_first = True
    yield b"["
    for one in series:
        inner = plain_json(one, root).strip()[1:-1].strip()
        if inner:
            yield inner if is_first else b"," + inner
            is_first = False
    yield b"]"


def instance_json(instance: Instance, root: str) -> bytes:
    """Return the metadata of one instance as JSON text, an array of one; an empty array when it is not there."""
    plain = unpack(series_metadata(instance.series))
    found = _object_of(plain, instance.sop_instance_uid)
    if found is None:
        datasets: list[DicomJson] = orjson.loads(plain)
        found = b",".join(orjson.dumps(one) for one in datasets if uid_of(one) == instance.sop_instance_uid)
    return _absolute(b"[" + found + b"]", root)


def _object_of(plain: bytes, sop_instance_uid: str) -> bytes | None:
    """Return the object of an instance without reading those of hundreds of others; None where that does not succeed.

    What is cut out is read: a cut in the wrong place makes no object, or that of somebody else.
    """
    at = plain.find(f'"{_SOP_INSTANCE_UID}":{{"vr":"UI","Value":["{sop_instance_uid}"]'.encode())
    start = max(plain.rfind(opening, 0, max(at, 0)) for opening in (b',{"0008', b'[{"0008')) + 1
    end = at
    for _ in range(MAX_CUTS if at > 0 and start > 0 else 0):
        end = plain.find(b'},{"0008', end + 1)
        piece = plain[start : end + 1] if end > 0 else plain[start:].rstrip()[:-1]
        try:
            if uid_of(orjson.loads(piece)) == sop_instance_uid:
                return piece
        except orjson.JSONDecodeError:
            pass
        if end < 0:
            break
    return None


def uid_of(dataset: DicomJson) -> str:
    """Return the SOP Instance UID of a data set in DICOM JSON, empty without."""
    values: list[Any] = dataset.get(_SOP_INSTANCE_UID, {}).get("Value") or [""]
    return str(values[0])


def _absolute(plain: bytes, root: str) -> bytes:
    """Return the text with its references made whole; the very same object when it holds none."""
    return plain.replace(_KEY, f'"BulkDataURI":"{root}/studies/'.encode())


def is_needed(search: Search) -> bool:
    """Tell whether a search asks for attributes that the index does not hold."""
    return search.is_all_included or not search.include_tags <= ATTRIBUTE_OF_TAG.keys()


def complete_series(search: Search, series: Series, result: DicomJson) -> None:
    """Add to a series found what was asked for and only its metadata holds; attributes of instances are not added."""
    datasets: list[DicomJson] = orjson.loads(unpack(series_metadata(series)))
    wanted = _SERIES_TAGS if search.is_all_included else search.include_tags & _SERIES_TAGS
    if datasets:
        _add(result, {tag: value for tag, value in datasets[0].items() if tag in wanted})


def complete_instances(
    search: Search, instances: Sequence[Instance], results: Sequence[DicomJson], root: str, *, max_reads: int
) -> None:
    """Add to instances found what was asked for and only the metadata holds, for at most `max_reads` series."""
    datasets: dict[str, DicomJson] = {}
    read: set[int] = set()
    for instance in instances:
        if instance.series_id not in read and len(read) < max_reads:
            read.add(instance.series_id)
            for one in orjson.loads(plain_json(instance.series, root)):
                datasets[uid_of(one)] = one
    for instance, result in zip(instances, results, strict=True):
        dataset = datasets.get(instance.sop_instance_uid, {})
        is_all = search.is_all_included
        _add(result, {tag: value for tag, value in dataset.items() if is_all or tag in search.include_tags})


def _add(result: DicomJson, found: DicomJson) -> None:
    merged = found | result
    result.clear()
    result.update(sorted(merged.items()))
