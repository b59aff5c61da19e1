"""Each test of the storage has a place of its own, on a disk or on a real S3 service."""

from pathlib import Path

import pytest
from pytest_django import Settings

from apps.storage.disk_place import DiskPlace
from apps.storage.places import Place, place_named
from apps.storage.s3_place import S3Place
from tests.s3_server import S3Server, s3_server

__all__ = ["s3_server"]


@pytest.fixture
def disk(tmp_path: Path, settings: Settings) -> DiskPlace:
    """The primary place, on a disk."""
    options = {"location": str(tmp_path / "blobs")}
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    settings.STORAGES = settings.STORAGES | {"blobs": backend}
    place = place_named("blobs")
    assert isinstance(place, DiskPlace)
    return place


@pytest.fixture
def bucket(s3_server: S3Server, settings: Settings) -> S3Place:
    """The primary place, in a new bucket."""
    settings.STORAGES = settings.STORAGES | {"blobs": s3_server.storage(s3_server.make_bucket(), location="vault")}
    place = place_named("blobs")
    assert isinstance(place, S3Place)
    return place


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    """The primary place, each kind in turn."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
