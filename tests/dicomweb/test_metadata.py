"""Metadata out of a prepared blob: one instance without its neighbours, a long series in pieces."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from apps.dicomweb import metadata
from apps.studies.models import Instance, Series

SERIES = cast("Series", SimpleNamespace())


def dataset(number: int) -> dict[str, Any]:
    """With sequences before and behind the UID, whose items look like data sets themselves."""
    item = {"00081150": {"vr": "UI", "Value": ["1.2.3"]}}
    return {
        "00080006": {"vr": "SQ", "Value": [item] * (number % 3)},
        "00080018": {"vr": "UI", "Value": [f"2.25.{number}"]},
        "00081140": {"vr": "SQ", "Value": [item, item | {"00080018": {"vr": "UI", "Value": ["2.25.1"]}}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": f"studies/1/series/2/instances/{number}/bulkdata/7FE00010"},
    }


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    datasets = [dataset(number) for number in range(12, 30)]
    monkeypatch.setattr(metadata, "series_metadata", lambda series: gzip.compress(orjson.dumps(datasets)))
    return datasets


def whole(text: bytes) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", orjson.loads(text.replace(b'"/root/studies/', b'"studies/')))


@pytest.mark.parametrize("index", range(18))
def test_one_instance_is_found_among_those_that_look_like_it(stored: list[dict[str, Any]], index: int) -> None:
    instance = SimpleNamespace(series=SERIES, sop_instance_uid=f"2.25.{index + 12}")
    text = metadata.instance_json(cast("Instance", instance), "/root")
    assert whole(text) == [stored[index]]
    assert b'"/root/studies/1/' in text


def test_an_instance_that_only_others_name_is_not_there(stored: list[dict[str, Any]]) -> None:
    for uid in ("2.25.1", "2.25.999"):
        instance = SimpleNamespace(series=SERIES, sop_instance_uid=uid)
        assert metadata.instance_json(cast("Instance", instance), "/root") == b"[]"


def test_a_long_series_comes_in_pieces_with_every_reference_whole(
    stored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metadata.long_json(SERIES, "/root") is None
    for length in (7, 31, 100, 512):
        monkeypatch.setattr(metadata, "PIECE_BYTES", length)
        pieces = metadata.long_json(SERIES, "/root")
        assert pieces is not None
        text = b"".join(pieces)
        assert text.count(b'"/root/studies/') == len(stored)
        assert whole(text) == stored
