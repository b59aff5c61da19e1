"""The places of one blob, asked in turn: when one fails or a byte is wrong, the next one answers in its stead."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from apps.storage.copies import places_to_read
from apps.storage.crypto import Buffer, Decryptor
from apps.storage.errors import BlobMissingError, CorruptBlobError, PlaceUnavailableError, StorageError
from apps.storage.models import Blob
from apps.storage.places import PlaceReader, place_named
from apps.storage.replication import report_damage

Answer = TypeVar("Answer")
TELLING = (PlaceUnavailableError, CorruptBlobError, BlobMissingError)


class Sources:
    """One blob's plaintext by range, from whichever place gives it authentically. For one thread.

    Opens the first place at once, so that what is missing everywhere shows before anything is sent. When all have
    failed it raises what tells most: PlaceUnavailableError (it may come back), CorruptBlobError or BlobMissingError.
    """

    def __init__(self, blob: Blob, key: bytes) -> None:
        self._blob = blob
        self._places = places_to_read(blob)
        self._failures: list[StorageError] = []
        self._stored: PlaceReader | None = None
        self._decryptor = Decryptor(
            self._fetch,
            ciphertext_bytes=blob.ciphertext_bytes,
            header=bytes(blob.header),
            key=key,
            associated_data=blob.associated_data,
        )
        self.plaintext_bytes = self._decryptor.plaintext_bytes
        self.aligned = self._decryptor.aligned
        self._ask(self._open)

    def read(self, offset: int, length: int) -> memoryview:
        """Decrypt a plaintext range, as `Decryptor.read` does."""
        return self._ask(partial(self._decryptor.read, offset, length))

    def verify_end(self) -> None:
        """Decrypt the last segment, as `Decryptor.verify_end` does."""
        self._ask(self._decryptor.verify_end)

    def close(self) -> None:
        """Let go of the place that is open."""
        if self._stored is not None:
            self._stored.close()
            self._stored = None

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        """Return what one place after the other is asked, from the first that gives it."""
        while True:
            try:
                return call()
            except TELLING as error:
                self._give_up(error)

    def _fetch(self, offset: int, length: int) -> Buffer:
        return self._open().read(offset, length)

    def _open(self) -> PlaceReader:
        if self._stored is None:
            place = place_named(self._places[0])
            is_urgent = len(self._places) > 1
            self._stored = place.open(self._blob.object_name, self._blob.ciphertext_bytes, is_urgent=is_urgent)
        return self._stored

    def _give_up(self, error: StorageError) -> None:
        """Turn to the next place, or raise if this was the last."""
        self.close()
        report_damage(self._blob, self._places[0], error)
        self._failures.append(error)
        if len(self._places) == 1:
            raise next(each for kind in TELLING for each in self._failures if isinstance(each, kind))
        del self._places[0]
