"""Blobs on their way in: encrypted from the first byte, durable before their row is."""

import hashlib
import os
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from types import TracebackType
from typing import Self, TypeVar

from django.db import transaction

from apps.clinics.models import Clinic
from apps.keys.services import wrap_data_key, wrap_data_keys
from apps.storage.copies import note_trouble, places_to_write
from apps.storage.crypto import KEY_BYTES, Buffer, Encryptor
from apps.storage.errors import PlaceFullError, PlaceUnavailableError
from apps.storage.models import Blob
from apps.storage.places import place_named
from apps.storage.usage import add_usage

Outcome = TypeVar("Outcome")

AHEAD = 2
"""So many small objects are hashed and encrypted beside the one that is written."""
KIND = re.compile(r"[a-z][a-z-]{0,19}", re.ASCII)


def _begin_blob(clinic: Clinic, kind: str, *, quarantined: bool) -> Blob:
    if not KIND.fullmatch(kind):
        raise ValueError("A kind is up to 20 lower-case letters and dashes.")
    state = Blob.State.QUARANTINED if quarantined else Blob.State.STORED
    return Blob(clinic=clinic, kind=kind, state=state)


def _first_answering(attempt: Callable[[str], Outcome]) -> tuple[str, Outcome]:
    """Return the first place that takes the bytes, and what it gave. A full one is no reason to fill the next."""
    *others, last = places_to_write()
    for place in others:
        try:
            return place, attempt(place)
        except PlaceFullError:
            raise
        except PlaceUnavailableError as error:
            note_trouble(place, error)
    return last, attempt(last)


class BlobWriter:
    """Writes one blob of any size with flat memory.

    Use as a context manager: leaving it without ``commit()`` removes every trace. The key is wrapped before the
    first byte is taken, so that a missing key shows at once (KeyUnavailableError). Needs the clinic's scope.
    """

    def __init__(self, clinic: Clinic, kind: str, quarantined: bool = False) -> None:
        self._blob = blob = _begin_blob(clinic, kind, quarantined=quarantined)
        data_key = secrets.token_bytes(KEY_BYTES)
        wrapped = wrap_data_key(clinic.pk, data_key, blob.associated_data, is_quarantined=quarantined)
        blob.wrapped_key, blob.clinic_key_id = wrapped.wrapped, wrapped.clinic_key_id
        self._encryptor = Encryptor(data_key, blob.associated_data)
        blob.header = self._encryptor.header
        self._sha256 = hashlib.sha256()
        self._is_open = True
        self.size_bytes = 0
        self._ciphertext_bytes = 0
        blob.place, self._file = _first_answering(lambda place: place_named(place).begin(blob.object_name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of the plaintext so far (32 bytes)."""
        return self._sha256.digest()

    def write(self, data: Buffer) -> int:
        """Add plaintext; raises PlaceFullError or PlaceUnavailableError."""
        if not self._is_open:
            raise ValueError("This blob is closed.")
        self._sha256.update(data)
        self._put(self._encryptor.update(data))
        taken = memoryview(data).nbytes
        self.size_bytes += taken
        return taken

    def commit(self) -> Blob:
        """Make the bytes durable, then the row, with the clinic's usage, and return it.

        A crash in between leaves bytes without a row, which the sweep removes. So does a database error: its
        outcome may be unknown, and bytes that a row may name are never deleted here.
        """
        if not self._is_open:
            raise ValueError("This blob is closed.")
        self._put(self._encryptor.finalize())
        self._file.commit()
        self._is_open = False
        blob = self._blob
        blob.size_bytes, blob.ciphertext_bytes, blob.sha256 = self.size_bytes, self._ciphertext_bytes, self.sha256
        with transaction.atomic():
            blob.save(force_insert=True)
            add_usage(blob.clinic_id, blob.size_bytes, 1)
        return blob

    def abort(self) -> None:
        """Remove what was written; does nothing after ``commit()``."""
        if self._is_open:
            self._is_open = False
            self._file.abort()

    def _put(self, ciphertext: Buffer) -> None:
        if ciphertext:
            self._file.write(ciphertext)
            self._ciphertext_bytes += len(ciphertext)


def _ahead(tasks: Iterable[Callable[[], Outcome]]) -> Iterator[Outcome]:
    """Yield what each task returns, in order; a few are done on other processors while one is written."""
    waiting: deque[Future[Outcome]] = deque()
    for task in tasks:
        waiting.append(_helpers().submit(task))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@cache
def _helpers() -> ThreadPoolExecutor:
    """Return threads that hash and encrypt, one pool for the process; another process makes its own."""
    return ThreadPoolExecutor(AHEAD, thread_name_prefix="encrypt")


os.register_at_fork(after_in_child=_helpers.cache_clear)


def write_group(clinic: Clinic, kind: str, contents: Sequence[Buffer], *, quarantined: bool) -> list[Blob]:
    """Write small blobs together: they wait for the disk once, and their rows are one statement."""
    blobs = write_bytes(clinic, kind, contents, quarantined=quarantined)
    if blobs:
        with transaction.atomic():
            Blob.objects.bulk_create(blobs)
            add_usage(clinic.pk, sum(blob.size_bytes for blob in blobs), len(blobs))
    return blobs


def write_bytes(clinic: Clinic, kind: str, contents: Sequence[Buffer], *, quarantined: bool) -> list[Blob]:
    """Make small byte strings durable, encrypted, and return blobs that have no row yet."""
    if not contents:
        return []
    blobs = [_begin_blob(clinic, kind, quarantined=quarantined) for _ in contents]
    keys = [secrets.token_bytes(KEY_BYTES) for _ in contents]
    wrapped_keys = wrap_data_keys(
        clinic.pk,
        [(key, blob.associated_data) for key, blob in zip(keys, blobs, strict=True)],
        is_quarantined=quarantined,
    )

    def encrypt(blob: Blob, key: bytes, content: Buffer) -> tuple[Blob, bytes, bytes, Buffer]:
        encryptor = Encryptor(key, blob.associated_data)
        ciphertext = encryptor.update(content)
        ciphertext += encryptor.finalize()
        return blob, encryptor.header, hashlib.sha256(content).digest(), ciphertext

    def encrypted() -> Iterator[tuple[str, Buffer]]:
        tasks = map(partial(partial, encrypt), blobs, keys, contents)
        # What is said of a blob is of the bytes that its place took: tasks of a place that refused may end later.
        for (blob, header, sha256, ciphertext), content in zip(_ahead(tasks), contents, strict=True):
            blob.header, blob.sha256 = header, sha256
            blob.size_bytes, blob.ciphertext_bytes = memoryview(content).nbytes, len(ciphertext)
            yield blob.object_name, ciphertext

    for blob, wrapped in zip(blobs, wrapped_keys, strict=True):
        blob.wrapped_key, blob.clinic_key_id = wrapped.wrapped, wrapped.clinic_key_id
    # Encrypted as the place takes them, never all at once.
    place, _ = _first_answering(lambda place: place_named(place).write_many(encrypted()))
    for blob in blobs:
        blob.place = place
    return blobs
