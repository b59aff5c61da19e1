"""What every place promises: whole and durable or not there, any range, never overwritten."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from pytest_django import Settings

from apps.storage.errors import BlobExistsError, BlobMissingError, CorruptBlobError
from apps.storage.places import SHARDS, Place, object_name, place_named

LARGE = 20 * 1024 * 1024 + 17


def new_name() -> str:
    return object_name(secrets.token_urlsafe(16))


def store(place: Place, content: bytes, step: int = 1 << 20) -> str:
    name = new_name()
    writer = place.begin(name)
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
    writer.commit()
    return name


def listed(place: Place) -> set[str]:
    return {stored.name for stored in place.list_objects()}


@pytest.mark.parametrize("size", [0, 1, 8 << 20, LARGE])
def test_what_was_written_is_read(place: Place, size: int) -> None:
    content = secrets.token_bytes(size)
    name = store(place, content)
    assert place.exists(name)
    assert place.size(name) == size
    if size:
        reader = place.open(name, size)
        assert bytes(reader.read(0, size)) == content
        reader.close()


def test_any_range_is_read_by_many_threads(place: Place) -> None:
    content = secrets.token_bytes(LARGE)
    reader = place.open(store(place, content), LARGE)

    def is_right(number: int) -> bool:
        offset = number * 977_777 % (LARGE - 70_000)
        return bytes(reader.read(offset, 70_000)) == content[offset : offset + 70_000]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, range(40)))
    assert bytes(reader.read(LARGE - 1, 1)) == content[-1:]
    reader.close()


def test_nothing_is_seen_before_commit(place: Place) -> None:
    name = new_name()
    writer = place.begin(name)
    writer.write(bytes(LARGE))
    assert not place.exists(name)
    assert listed(place) == set()
    writer.commit()
    assert listed(place) == {name}


@pytest.mark.parametrize("size", [10, LARGE])
def test_aborted_object_leaves_nothing(place: Place, size: int) -> None:
    name = new_name()
    writer = place.begin(name)
    writer.write(bytes(size))
    writer.abort()
    writer.abort()
    assert not place.exists(name)
    assert place.remove_unfinished(timezone.now() + timedelta(days=1)) == 0


@pytest.mark.parametrize("size", [10, LARGE])
def test_object_is_never_overwritten(place: Place, size: int) -> None:
    name = store(place, b"first")
    writer = place.begin(name)
    writer.write(bytes(size))
    with pytest.raises(BlobExistsError):
        writer.commit()
    writer.abort()
    with pytest.raises(BlobExistsError):
        place.write_many([(name, b"third")])
    assert bytes(place.open(name, 5).read(0, 5)) == b"first"


def test_many_small_objects_are_written_together(place: Place) -> None:
    contents = {new_name(): secrets.token_bytes(size) for size in range(1, 101)}
    place.write_many(iter(contents.items()))
    assert listed(place) == set(contents)
    for name, content in contents.items():
        reader = place.open(name, len(content))
        assert bytes(reader.read(0, len(content))) == content
        reader.close()


def test_deleted_object_is_gone_and_deleting_again_is_fine(place: Place) -> None:
    kept, gone = store(place, b"kept"), store(place, b"gone")
    place.delete([gone, new_name()])
    place.delete([gone])
    place.delete([])
    assert listed(place) == {kept}
    assert place.size(gone) is None
    with pytest.raises(BlobMissingError):
        place.open(gone, 4).read(0, 4)


@pytest.mark.parametrize("noted", [9, 11, 100_000])
def test_object_of_another_size_than_noted_is_refused_ENC_02(place: Place, noted: int) -> None:
    name = store(place, b"0123456789")
    with pytest.raises(CorruptBlobError):
        place.open(name, noted).read(0, 5)
    with pytest.raises(CorruptBlobError):
        place.open(name, noted).read(noted - 1, 1)


def test_unfinished_objects_are_removed_once_they_are_old(place: Place) -> None:
    writer = place.begin(new_name())
    writer.write(bytes(LARGE))
    finished = store(place, bytes(LARGE))
    assert place.remove_unfinished(timezone.now() - timedelta(hours=1)) == 0
    assert place.remove_unfinished(timezone.now() + timedelta(hours=1)) == 1
    assert place.remove_unfinished(timezone.now() + timedelta(hours=1)) == 0
    assert listed(place) == {finished}


def test_listing_says_when(place: Place) -> None:
    store(place, b"x")
    (stored,) = place.list_objects()
    assert abs(stored.modified_at - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "name",
    ["", "../etc/passwd", "aa/../../x", "aa/short", "aa/" + "a" * 21 + "/", "aa/" + "a" * 22 + "\n", "/" + "a" * 24],
)
def test_name_of_no_blob_is_never_used(place: Place, name: str) -> None:
    for use in (place.begin, place.size, lambda it: place.open(it, 1), lambda it: place.delete([it])):
        with pytest.raises(ValueError, match="stored object"):
            use(name)


def test_blob_ids_are_spread_over_all_shards() -> None:
    shards = {object_name(secrets.token_urlsafe(16))[:2] for _ in range(5000)}
    assert shards == set(SHARDS)


def test_storage_that_is_neither_disk_nor_bucket_is_refused(settings: Settings) -> None:
    settings.STORAGES = settings.STORAGES | {"blobs": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    with pytest.raises(ImproperlyConfigured, match="FileSystemStorage or an S3Storage"):
        place_named("blobs")
