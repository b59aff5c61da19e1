"""Files under names of their own in a bucket of an S3 service: what is kept beside the places, and may be replaced."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Self

from storages.backends.s3 import S3Storage

from apps.storage.errors import BlobMissingError
from apps.storage.s3_place import CONNECTION_CONFIG, S3Place, explained


class Bucket(S3Place):
    """As a place, but names are the caller's, and a file takes the place of one of the same name."""

    conditions: Mapping[str, Any] = {}

    @classmethod
    def at(cls, name: str, folder: str, options: Mapping[str, Any]) -> Self:
        """Return the folder of a bucket; `options` are those of django-storages' S3Storage without these two."""
        # Nobody else has what is kept here: a service that is slow is waited for.
        return cls(S3Storage(bucket_name=name, location=folder, **options), CONNECTION_CONFIG)

    def is_name(self, name: str) -> bool:
        """Whether it can be a name: any that stays in the folder."""
        return bool(name) and ".." not in name.split("/")

    def names(self, start: str = "") -> Iterator[str]:
        """Yield the names that begin so, in their order. Raises PlaceUnavailableError."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + start)
        with explained():
            for page in pages:
                yield from (entry["Key"].removeprefix(self.prefix) for entry in page.get("Contents", []))

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file from its beginning. Raises BlobMissingError, CorruptBlobError or PlaceUnavailableError."""
        size_bytes = self.size(name)
        if size_bytes is None:
            raise BlobMissingError
        with closing(self.open(name, size_bytes)) as reader:
            for offset in range(0, size_bytes, self.window_bytes):
                yield bytes(reader.read(offset, min(self.window_bytes, size_bytes - offset)))
