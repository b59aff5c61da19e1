"""A bucket: few requests, one client, broken connections mended or named."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, IncompleteReadError
from django.core.files.storage import storages
from pytest_django import Settings

from apps.storage import s3_place
from apps.storage.errors import BlobExistsError, PlaceUnavailableError
from apps.storage.places import place_named
from apps.storage.s3_place import PART_BYTES, S3Place
from tests.s3_server import S3Server
from tests.storage.test_places import new_name, store


@pytest.fixture
def requests(bucket: S3Place) -> list[str]:
    """Notes the operations that reach the service."""
    noted: list[str] = []
    bucket.client.meta.events.register(
        "before-call.s3", lambda model, **_: noted.append(model.name), unique_id="noted-by-a-test"
    )
    yield noted  # type: ignore[misc]
    bucket.client.meta.events.unregister("before-call.s3", unique_id="noted-by-a-test")


def test_small_object_is_one_request(bucket: S3Place, requests: list[str]) -> None:
    store(bucket, bytes(PART_BYTES))
    assert requests == ["PutObject"]


def test_large_object_goes_out_in_parts(bucket: S3Place, requests: list[str]) -> None:
    store(bucket, bytes(2 * PART_BYTES + 1))
    assert requests == ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]


def test_range_is_one_request_and_opening_none(bucket: S3Place, requests: list[str]) -> None:
    name = store(bucket, bytes(100_000))
    requests.clear()
    reader = bucket.open(name, 100_000)
    assert requests == []
    reader.read(50_000, 1000)
    assert requests == ["GetObject"]


def test_thousand_objects_are_deleted_with_one_request(bucket: S3Place, requests: list[str]) -> None:
    bucket.delete(new_name() for _ in range(1000))
    assert requests == ["DeleteObjects"]


def test_listing_asks_for_pages_not_for_objects(bucket: S3Place, requests: list[str]) -> None:
    names = [new_name() for _ in range(40)]
    bucket.write_many((name, b"x") for name in names)
    requests.clear()
    assert {stored.name for stored in bucket.list_objects()} == set(names)
    assert requests == ["ListObjectsV2"]


def test_objects_lie_below_the_configured_location(bucket: S3Place, s3_server: S3Server) -> None:
    name = store(bucket, b"x")
    found = s3_server.client().list_objects_v2(Bucket=bucket.bucket)
    assert [each["Key"] for each in found["Contents"]] == [f"vault/{name}"]


def test_repeated_request_recognises_what_its_first_try_stored(
    bucket: S3Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first try was lost on the way, so boto3 sends it again and finds the object there."""
    monkeypatch.setattr(s3_place.secrets, "token_hex", lambda _: "ours")
    mine, other = new_name(), new_name()
    for name, writer in ((mine, "ours"), (other, "somebody")):
        key = bucket.key_of(name)
        s3_server.client().put_object(Bucket=bucket.bucket, Key=key, Body=b"x", Metadata={"writer": writer})
    bucket.write_many([(mine, b"x")])
    with pytest.raises(BlobExistsError):
        bucket.write_many([(other, b"x")])


class BrokenOffBody:
    """A body whose connection breaks after the headers."""

    def __enter__(self) -> "BrokenOffBody":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> bytes:
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)


@pytest.mark.parametrize(("broken", "is_read"), [(1, True), (2, True), (3, False)])
def test_body_that_breaks_off_is_asked_for_again(
    bucket: S3Place, monkeypatch: pytest.MonkeyPatch, broken: int, is_read: bool
) -> None:
    reader = bucket.open(store(bucket, b"0123456789"), 10)
    get_object = bucket.client.get_object
    tries = iter(range(10))

    def flaky(**options: Any) -> Any:
        answer = get_object(**options)
        return {**answer, "Body": BrokenOffBody()} if next(tries) < broken else answer

    monkeypatch.setattr(bucket.client, "get_object", flaky)
    if is_read:
        assert bytes(reader.read(2, 3)) == b"234"
    else:
        with pytest.raises(PlaceUnavailableError):
            reader.read(2, 3)


def test_service_that_does_not_answer_is_named_as_such(settings: Settings, s3_server: S3Server) -> None:
    once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    nowhere = s3_server.storage("nowhere", endpoint_url="http://127.0.0.1:9", client_config=once)
    settings.STORAGES = settings.STORAGES | {"blobs": nowhere}
    place = place_named("blobs")
    for use in (
        lambda: place.write_many([(new_name(), b"x")]),
        lambda: place.open(new_name(), 1).read(0, 1),
        lambda: place.delete([new_name()]),
        lambda: place.exists(new_name()),
        lambda: list(place.list_objects()),
    ):
        with pytest.raises(PlaceUnavailableError, match="cannot be reached"):
            use()


def test_refused_credentials_are_no_missing_object(settings: Settings, s3_server: S3Server, bucket: S3Place) -> None:
    name = store(bucket, b"x")
    settings.STORAGES = settings.STORAGES | {"blobs": s3_server.storage(bucket.bucket, secret_key="wrong")}
    with pytest.raises(PlaceUnavailableError, match="SignatureDoesNotMatch"):
        place_named("blobs").open(name, 1).read(0, 1)


def test_one_client_serves_all_threads(bucket: S3Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: id(S3Place(storages["blobs"]).client), range(20)))  # type: ignore[arg-type]
    assert clients == {id(bucket.client)}


def test_forked_process_makes_a_client_of_its_own(bucket: S3Place) -> None:
    name = store(bucket, b"0123456789")
    child = os.fork()
    if child == 0:
        try:
            place = S3Place(storages["blobs"])  # type: ignore[arg-type]
            is_right = place.client is not bucket.client and bytes(place.open(name, 10).read(2, 3)) == b"234"
        except BaseException:
            is_right = False
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nobody_writes_over_an_object_between_begin_and_commit(bucket: S3Place, s3_server: S3Server) -> None:
    name = new_name()
    writer = bucket.begin(name)
    writer.write(bytes(PART_BYTES + 1))
    bucket.write_many([(name, b"faster")])
    with pytest.raises(BlobExistsError):
        writer.commit()
    writer.abort()
    assert bytes(bucket.open(name, 6).read(0, 6)) == b"faster"
    assert not s3_server.client().list_multipart_uploads(Bucket=bucket.bucket).get("Uploads")


def test_test_server_refuses_wrong_credentials(s3_server: S3Server) -> None:
    """Else the tests above would prove nothing about ours."""
    stranger = S3Server(s3_server.endpoint_url, s3_server.access_key, "wrong")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.client().list_buckets()
