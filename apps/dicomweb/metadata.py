"""Series metadata: one prepared blob a series, handed on as it is wherever possible.

The blob is gzip'd DICOM JSON of all instances. Its bulk data URIs are relative to the root of the service, since the
same blob is read under a clinic and under share links; they are made whole on the way out.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from apps.dicomweb.parameters import ATTRIBUTE_OF_TAG, Search
from apps.dicomweb.results import DicomJson, tags
from apps.studies.models import Instance, Series
from apps.studies.services import series_metadata

# Within JSON text this is never part of a value, where the quotes would be escaped.
_KEY = b'"BulkDataURI":"studies/'
_SOP_INSTANCE_UID = "00080018"

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
    plain = gzip.decompress(packed)
    if _KEY not in plain:
        return packed, True
    return _absolute(plain, root), False


def stored_json(series: Series) -> bytes:
    """Return the metadata of a series as it is stored: gzip'd, its references relative to the root of the service."""
    return series_metadata(series)


def plain_json(series: Series, root: str) -> bytes:
    """Return the metadata of a series as JSON text."""
    body, is_packed = series_json(series, root)
    return gzip.decompress(body) if is_packed else body


def pack(body: bytes) -> bytes:
    """Return gzip'd bytes, quickly rather than small: this is done while somebody waits."""
    compressor = zlib.compressobj(1, wbits=31)
    return compressor.compress(body) + compressor.flush()


def unpack(body: bytes) -> bytes:
    """Return what `pack`, or the index, packed."""
    return gzip.decompress(body)


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


def instance_json(instance: Instance, root: str) -> list[DicomJson]:
    """Return the metadata of one instance, as an array of one."""
    datasets: list[DicomJson] = json.loads(plain_json(instance.series, root))
    return [one for one in datasets if uid_of(one) == instance.sop_instance_uid]


def uid_of(dataset: DicomJson) -> str:
    """Return the SOP Instance UID of a data set in DICOM JSON, empty without."""
    values: list[Any] = dataset.get(_SOP_INSTANCE_UID, {}).get("Value") or [""]
    return str(values[0])


def _absolute(plain: bytes, root: str) -> bytes:
    return plain.replace(_KEY, f'"BulkDataURI":"{root}/studies/'.encode())


def is_needed(search: Search) -> bool:
    """Tell whether a search asks for attributes that the index does not hold."""
    return search.is_all_included or not search.include_tags <= ATTRIBUTE_OF_TAG.keys()


def complete_series(search: Search, series: Series, result: DicomJson) -> None:
    """Add to a series found what was asked for and only its metadata holds; attributes of instances are not added."""
    datasets: list[DicomJson] = json.loads(gzip.decompress(series_metadata(series)))
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
            for one in json.loads(plain_json(instance.series, root)):
                datasets[uid_of(one)] = one
    for instance, result in zip(instances, results, strict=True):
        dataset = datasets.get(instance.sop_instance_uid, {})
        is_all = search.is_all_included
        _add(result, {tag: value for tag, value in dataset.items() if is_all or tag in search.include_tags})


def _add(result: DicomJson, found: DicomJson) -> None:
    merged = found | result
    result.clear()
    result.update(sorted(merged.items()))
