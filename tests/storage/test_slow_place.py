"""A bucket that hangs, trickles, breaks off or answers with errors: nobody waits where a copy is elsewhere (F10)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.config import Config
from pytest_django import Settings

from apps.clinics.models import Clinic
from apps.storage import copies, replication, s3_place
from apps.storage.models import Copy
from apps.storage.services import iterate_blob, open_blob, write_blob
from tests.faults.bucket import Proxy
from tests.s3_server import S3Server
from tests.storage.test_replication import disk_at

CONTENT = secrets.token_bytes(700_000)


@pytest.fixture
def proxy(s3_server: S3Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The first place is a bucket behind the proxy, the second one a disk."""
    one = Proxy(s3_server.endpoint_url)
    first = s3_server.storage(s3_server.make_bucket())
    first["OPTIONS"] |= {"endpoint_url": one.url}
    settings.STORAGES = settings.STORAGES | {"blobs": first, "replica-second": disk_at(tmp_path / "second")}
    settings.REPLICAS = {"replica-second": "PORTAL_REPLICA_SECOND"}
    short = Config(connect_timeout=1, read_timeout=0.3)
    monkeypatch.setattr(s3_place, "URGENT_CONFIG", s3_place.URGENT_CONFIG.merge(short))
    monkeypatch.setattr(s3_place, "URGENT_SECONDS", 0.2)
    copies.forget_trouble()
    yield one
    one.close()
    copies.forget_trouble()


@pytest.mark.parametrize(
    "mode",
    [
        "hang",
        "errors",
        "broken off",
        "broken off in the headers",
        "broken off within the size",
        "trickle",
    ],
)
def test_reads_go_on_from_the_copy_F10(in_clinic_a: Clinic, proxy: Proxy, mode: str) -> None:
    blob = write_blob(in_clinic_a, "file", [CONTENT])
    assert replication.copy_due() == 1
    proxy.mode = mode
    assert b"".join(iterate_blob(blob)) == CONTENT
    # Left alone for a while: the next reader asks the other place first.
    assert copies.places_to_read(blob)[0] == "replica-second"
    with open_blob(blob) as reader:
        assert reader.pread(300_000, 1000) == CONTENT[300_000:301_000]
    # A place that is slow says nothing of what it holds.
    assert set(Copy.objects.filter(blob=blob).values_list("state", flat=True)) == {"good"}


def test_a_place_that_fails_again_is_left_alone_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(copies.time, "monotonic", lambda: now[0])
    copies.forget_trouble()
    rests = []
    for _ in range(6):
        copies.note_trouble("blobs", copies.PlaceUnavailableError())
        begun = now[0]
        while copies.is_resting("blobs"):
            now[0] += 1
        rests.append(now[0] - begun)
    assert rests == [10, 20, 40, 80, 120, 120]
    now[0] += 1000
    copies.note_trouble("blobs", copies.PlaceUnavailableError())
    now[0] += 10
    assert not copies.is_resting("blobs")
    copies.forget_trouble()
