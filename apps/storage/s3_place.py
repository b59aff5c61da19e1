"""A bucket of an S3 service, as django-storages' S3Storage configures it.

S3Storage itself is not used for the bytes: its files download the whole object to read any of it, and its boto3
resource is made anew for every thread. Here one client serves all threads of a process, reads are ranges, and a
large object goes out in parts as it is written.
"""

import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from django.conf import settings
from storages.backends.s3 import S3Storage
from urllib3.exceptions import HTTPError

from apps.storage.crypto import Buffer
from apps.storage.errors import (
    BlobExistsError,
    BlobMissingError,
    CorruptBlobError,
    PlaceFullError,
    PlaceUnavailableError,
)
from apps.storage.places import NAME, Place, PlaceReader, PlaceWriter, StoredObject, batches

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef, ObjectVersionTypeDef

logger = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
"""All parts but the last are equal: some services ask for it. 10,000 parts make 80 GiB."""
MAX_PARTS = 10_000
PUT_THREADS = 8
DELETE_BATCH = 1000
READ_ATTEMPTS = 3
CONNECTION_CONFIG = Config(
    max_pool_connections=32,
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 4},
    tcp_keepalive=True,
)
# Where every byte has a copy elsewhere, nobody waits for a service that is slow or hangs (F10).
REPLICATED_CONFIG = CONNECTION_CONFIG.merge(
    Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
)
URGENT_CONFIG = CONNECTION_CONFIG.merge(
    Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})
)
URGENT_SECONDS = 2.0
URGENT_BYTES_PER_SECOND = 1024 * 1024
"""A range of that many bytes may take a second more."""
PIECE_BYTES = 8 * 1024
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d+)-(?P<last>\d+)/(?P<size>\d+)")
"""RFC 9110 section 14.4."""
MISSING = {"NoSuchKey", "404", "NotFound"}
EXISTING = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}


class BrokenOffError(PlaceUnavailableError):
    """The answer ended before it was whole, or was none to what was asked."""

    def __init__(self) -> None:
        super().__init__("The S3 service broke off its answer.")


_clients: dict[Hashable, "S3Client"] = {}
_clients_lock = threading.Lock()


def _forget_clients() -> None:
    """Start over in a forked process: sockets and locks of the parent are not ours."""
    global _clients_lock
    _clients_lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_forget_clients)


def _client_of(storage: S3Storage, config: Config) -> "S3Client":
    """Return the process's one client for this configuration; boto3 clients serve many threads, sessions do not."""
    wanted = (
        config,
        storage.endpoint_url,
        storage.region_name,
        storage.access_key,
        storage.secret_key,
        storage.security_token,
        storage.session_profile,
        storage.addressing_style,
        storage.signature_version,
        storage.use_ssl,
        storage.verify,
    )
    with _clients_lock:
        if wanted not in _clients:
            if storage.session_profile:
                session = boto3.Session(profile_name=storage.session_profile)
            else:
                session = boto3.Session(storage.access_key, storage.secret_key, storage.security_token)
            _clients[wanted] = session.client(
                "s3",
                endpoint_url=storage.endpoint_url,
                region_name=storage.region_name,
                use_ssl=storage.use_ssl,
                verify=storage.verify,
                config=config.merge(storage.client_config),
            )
        return _clients[wanted]


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the service says into what the house says. Messages carry neither bucket nor key."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in MISSING:
            raise BlobMissingError from error
        if code in EXISTING:
            raise BlobExistsError from error
        if code in FULL:
            raise PlaceFullError from error
        raise PlaceUnavailableError(f"The S3 service answers: {code}.") from error
    except (BotoCoreError, HTTPError) as error:
        raise PlaceUnavailableError(f"The S3 service cannot be reached ({type(error).__name__}).") from error


class S3Place(Place):
    """Objects in a bucket, below the storage's ``location``."""

    # Each request costs a round trip.
    window_bytes = 4 * 1024 * 1024
    # What the service must find true before it stores something: nothing is there yet.
    conditions: Mapping[str, Any] = {"IfNoneMatch": "*"}

    def __init__(self, storage: S3Storage, config: Config | None = None) -> None:
        self.bucket: str = storage.bucket_name
        self.prefix: str = f"{storage.location.strip('/')}/" if storage.location.strip("/") else ""
        # Encryption at the service's side, storage class and the like, as the operator set them.
        self.parameters: dict[str, Any] = storage.get_object_parameters("")
        self._storage = storage
        with explained():
            self.client = _client_of(storage, config or (REPLICATED_CONFIG if settings.REPLICAS else CONNECTION_CONFIG))

    @classmethod
    def from_storage(cls, storage: S3Storage) -> Self:
        """Return the place that an S3Storage configures."""
        return cls(storage)

    def begin(self, name: str) -> PlaceWriter:
        return _S3Writer(self, self.key_of(name))

    def write_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        with ThreadPoolExecutor(PUT_THREADS) as pool:
            # In groups, so that a long iterable of bytes is never held at once.
            for group in batches(objects, 4 * PUT_THREADS):
                for _ in pool.map(lambda each: self.put(self.key_of(each[0]), each[1]), group):
                    pass

    def open(self, name: str, size_bytes: int, *, is_urgent: bool = False) -> PlaceReader:
        if not is_urgent:
            return _S3Reader(self, self.client, self.key_of(name), size_bytes)
        with explained():
            return _UrgentReader(self, _client_of(self._storage, URGENT_CONFIG), self.key_of(name), size_bytes)

    def delete(self, names: Iterable[str]) -> None:
        for group in batches(names, DELETE_BATCH):
            with explained():
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.key_of(name)} for name in group], "Quiet": True},
                )
            if refused := [each for each in answer.get("Errors", []) if each.get("Code") not in MISSING]:
                raise PlaceUnavailableError(f"The S3 service did not delete {len(refused)} objects.")

    def purge(self, names: Iterable[str]) -> None:
        for name in names:
            key = self.key_of(name)
            with explained():
                pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=key)
                found: list[ObjectIdentifierTypeDef] = [
                    {"Key": key, "VersionId": each["VersionId"]}
                    for page in pages
                    for each in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
                    if each["Key"] == key
                ]
                for group in batches(found, DELETE_BATCH):
                    answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": group, "Quiet": True})
                    if answer.get("Errors"):
                        raise PlaceUnavailableError("The S3 service keeps an older version.")

    def size(self, name: str) -> int | None:
        try:
            with explained():
                found = self.client.head_object(Bucket=self.bucket, Key=self.key_of(name))
        except BlobMissingError:
            return None
        if (size_bytes := found.get("ContentLength")) is None:
            raise BrokenOffError
        return size_bytes

    def list_objects(self) -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        with explained():
            for page in pages:
                for entry in page.get("Contents", []):
                    name = entry["Key"].removeprefix(self.prefix)
                    if self.is_name(name):
                        yield StoredObject(name, entry["LastModified"])

    def remove_unfinished(self, before: datetime) -> int:
        removed = 0
        with explained():
            uploads = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix
            )
            for page in uploads:
                for upload in page.get("Uploads", []):
                    key, upload_id = upload["Key"], upload["UploadId"]
                    if upload["Initiated"] >= before or not self.is_name(key.removeprefix(self.prefix)):
                        continue
                    if self._last_part_at(key, upload_id, upload["Initiated"]) < before:
                        self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
                        removed += 1
        return removed

    def _last_part_at(self, key: str, upload_id: str, default: datetime) -> datetime:
        parts = self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
        written = [part["LastModified"] for page in parts for part in page.get("Parts", [])]
        return max(written, default=default)

    def lock(self, name: str, until: datetime) -> None:
        with explained():
            self.client.put_object_retention(
                Bucket=self.bucket,
                Key=self.key_of(name),
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
            )

    def bring_back(self, name: str, size_bytes: int) -> bool:
        key = self.key_of(name)
        with explained():
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=key)
            versions = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
            fitting = [each for each in versions if each["Size"] == size_bytes]
            if not fitting:
                return False
            # The first one is what we wrote: nothing of ours ever replaces an object.
            self._make_present(key, min(reversed(fitting), key=lambda each: each["LastModified"]))
        return True

    def bring_all_back(self, since: datetime) -> int:
        with explained():
            first: dict[str, ObjectVersionTypeDef] = {}
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self.prefix)
            for version in (each for page in pages for each in page.get("Versions", [])):
                known = first.get(version["Key"])
                # Of one second the newest comes first.
                if self.is_name(version["Key"].removeprefix(self.prefix)) and (
                    known is None or version["LastModified"] <= known["LastModified"]
                ):
                    first[version["Key"]] = version
            gone = [each for each in first.values() if not each["IsLatest"] and each["LastModified"] >= since]
            for version in gone:
                self._make_present(version["Key"], version)
        return len(gone)

    def _make_present(self, key: str, version: "ObjectVersionTypeDef") -> None:
        self.client.copy({"Bucket": self.bucket, "Key": key, "VersionId": version["VersionId"]}, self.bucket, key)

    def below(self, folder: str) -> Self:
        place = copy(self)
        place.prefix = f"{self.prefix}{folder}/"
        return place

    def free_bytes(self) -> None:
        return None

    def key_of(self, name: str) -> str:
        """Return the key of an object in the bucket."""
        if not self.is_name(name):
            raise ValueError("Not the name of a stored object.")
        return self.prefix + name

    def is_name(self, name: str) -> bool:
        """Whether objects here are named so."""
        return bool(NAME.fullmatch(name))

    def put(self, key: str, data: Buffer) -> None:
        """Store a small object with one request, unless something is there already."""
        writer_id = secrets.token_hex(8)
        with self.creating(key, writer_id):
            self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=bytes(data),
                Metadata={"writer": writer_id},
                **self.conditions,
                **self.parameters,
            )

    @contextmanager
    def creating(self, key: str, writer_id: str) -> Iterator[None]:
        """Refuse to replace an object, but recognise our own: a repeated request may find what its first try stored."""
        try:
            with explained():
                yield
        except BlobExistsError:
            with explained():
                found = self.client.head_object(Bucket=self.bucket, Key=key)
            if found.get("Metadata", {}).get("writer") != writer_id:
                raise


class _S3Writer(PlaceWriter):
    """Holds less than two parts in memory; an object smaller than a part is one request at the end."""

    def __init__(self, place: S3Place, key: str) -> None:
        self._place, self._key = place, key
        self._buffer = bytearray()
        self._upload_id = ""
        self._etags: list[str] = []
        self._writer_id = secrets.token_hex(8)

    def write(self, data: Buffer) -> None:
        self._buffer += data
        while len(self._buffer) > PART_BYTES:
            self._upload_part(bytes(memoryview(self._buffer)[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def commit(self) -> None:
        if not self._upload_id:
            self._place.put(self._key, self._buffer)
            return
        self._upload_part(bytes(self._buffer))
        self._buffer = bytearray()
        place = self._place
        with place.creating(self._key, self._writer_id):
            place.client.complete_multipart_upload(
                Bucket=place.bucket,
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={
                    "Parts": [{"ETag": etag, "PartNumber": number} for number, etag in enumerate(self._etags, 1)]
                },
                **place.conditions,
            )
        self._upload_id = ""

    def abort(self) -> None:
        self._buffer = bytearray()
        if self._upload_id:
            with suppress(PlaceUnavailableError, BlobMissingError), explained():
                self._place.client.abort_multipart_upload(
                    Bucket=self._place.bucket, Key=self._key, UploadId=self._upload_id
                )
        self._upload_id = ""

    def _upload_part(self, data: bytes) -> None:
        if len(self._etags) >= MAX_PARTS:
            raise PlaceFullError("The object is too large for this place.")
        place = self._place
        with explained():
            if not self._upload_id:
                self._upload_id = place.client.create_multipart_upload(
                    Bucket=place.bucket, Key=self._key, Metadata={"writer": self._writer_id}, **place.parameters
                )["UploadId"]
            part = place.client.upload_part(
                Bucket=place.bucket,
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=len(self._etags) + 1,
                Body=data,
            )
        self._etags.append(part["ETag"])


class _S3Reader(PlaceReader):
    """Nothing is asked of the service before the first read."""

    attempts = READ_ATTEMPTS

    def __init__(self, place: S3Place, client: "S3Client", key: str, size_bytes: int) -> None:
        self._place, self._client, self._key, self._size_bytes = place, client, key, size_bytes

    def read(self, offset: int, length: int) -> Buffer:
        for attempt in range(1, self.attempts + 1):
            try:
                with explained():
                    return self._read_once(offset, length)
            except PlaceUnavailableError as error:
                # boto3 repeats requests, but not a body that breaks off.
                is_broken_off = isinstance(error, BrokenOffError) or isinstance(
                    error.__cause__, (HTTPError, HTTPClientError, IncompleteReadError)
                )
                if attempt == self.attempts or not is_broken_off:
                    raise
                logger.warning("A read from the S3 service broke off, trying again.")
        raise AssertionError("The last attempt returns or raises.")

    def _read_once(self, offset: int, length: int) -> bytes:
        try:
            answer = self._client.get_object(
                Bucket=self._place.bucket, Key=self._key, Range=f"bytes={offset}-{offset + length - 1}"
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "InvalidRange":
                raise CorruptBlobError("The stored bytes do not have the size they were written with.") from error
            raise
        with answer["Body"] as body:
            told = CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
            announced = int(told["last"]) - int(told["first"]) + 1 if told else 0
            if not told or int(told["first"]) != offset or announced > length:
                raise BrokenOffError
            data = self._body(body, length)
        # Headers that broke off look like short ones: they count only if all the bytes followed that they announce.
        if announced != len(data):
            raise BrokenOffError
        if int(told["size"]) != self._size_bytes:
            raise CorruptBlobError("The stored bytes do not have the size they were written with.")
        return data

    def _body(self, body: "StreamingBody", length: int) -> bytes:
        return body.read()

    def close(self) -> None:
        """Nothing is held open."""


class _UrgentReader(_S3Reader):
    """Gives up what is slow at once: the next place has it too."""

    attempts = 1

    def _body(self, body: "StreamingBody", length: int) -> bytes:
        deadline = time.monotonic() + URGENT_SECONDS + length / URGENT_BYTES_PER_SECOND
        data = bytearray()
        while piece := body.read(PIECE_BYTES):
            data += piece
            if time.monotonic() > deadline and len(data) < length:
                raise PlaceUnavailableError("The S3 service is too slow.")
        return bytes(data)
