"""One file of a database backup, sealed before it leaves the machine; it opens with the master key and nothing else.

    object    = "VBB1" || key id (8) || master fingerprint (8) || length of the wrapped key (1) || wrapped key || stream
    stream    = Tink's AES-GCM-HKDF streaming format under the backup key; associated data: name and key id
    plaintext = length of the facts (4, big endian) || the facts as JSON || the file

The name is authenticated: an object put in another's place does not open. What the file is called, and
when it was written, stands in the facts, so that a place needs no list of its own.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from apps.backup.errors import BackupDamagedError, BackupKeyError
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.services import BackupKey, open_backup_key
from apps.storage.errors import CorruptBlobError
from apps.storage.services import HEADER_BYTES, Decryptor, Encryptor

MAGIC: Final = b"VBB1"
KEY_ID_BYTES: Final = 8
FIXED_BYTES: Final = len(MAGIC) + 2 * KEY_ID_BYTES + 1
PREFIX_BYTES: Final = FIXED_BYTES + 255
"""How much to read to have the whole prefix."""
CHUNK_BYTES: Final = 1 << 20
MAX_FACTS_BYTES: Final = 4096

Fetch = Callable[[int, int], Any]
Keys = dict[bytes, bytes]
"""Backup keys by their id."""


@dataclass(frozen=True)
class Facts:
    """What a sealed file is: its path below the backup, its size and SHA-256, and when it was written (ns)."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def seal(file: BinaryIO, facts: Facts, name: str, key: BackupKey) -> Iterator[bytes]:
    """Yield the object that is to be stored under ``name``; raises BackupDamagedError if the file changes meanwhile."""
    prefix = MAGIC + key.key_id + key.master_fingerprint + struct.pack("B", len(key.wrapped)) + key.wrapped
    encryptor = Encryptor(key.key, _associated_data(name, key.key_id))
    head = json.dumps(facts.__dict__).encode()
    yield prefix
    yield bytes(encryptor.update(struct.pack(">I", len(head)) + head))
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        yield bytes(encryptor.update(chunk))
    if digest.hexdigest() != facts.sha256:
        raise BackupDamagedError(facts.path)
    yield encryptor.finalize()


@dataclass(frozen=True)
class Prefix:
    """What stands before the stream, in the clear."""

    key_id: bytes
    master_fingerprint: bytes
    wrapped: bytes
    length: int


def read_prefix(data: bytes, item: str) -> Prefix:
    """Return the prefix of an object; raises BackupDamagedError naming the item."""
    if len(data) < FIXED_BYTES or not data.startswith(MAGIC):
        raise BackupDamagedError(item)
    end = FIXED_BYTES + data[FIXED_BYTES - 1]
    ids = data[len(MAGIC) : FIXED_BYTES - 1]
    return Prefix(ids[:KEY_ID_BYTES], ids[KEY_ID_BYTES:], data[FIXED_BYTES:end], end)


def open_key(prefix: Prefix) -> bytes | None:
    """Return the backup key that goes along with an object, None if another master key wrapped it or it is damaged."""
    try:
        return open_backup_key(prefix.wrapped, prefix.master_fingerprint)
    except (KeyUnavailableError, SealBrokenError):
        return None


class SealedFile:
    """A stored object, opened: its facts at once, its content on demand.

    Raises BackupDamagedError and BackupKeyError, both naming the item.
    """

    def __init__(self, fetch: Fetch, object_bytes: int, name: str, keys: Keys) -> None:
        self.name = name
        self._item = name
        try:
            head = bytes(fetch(0, min(object_bytes, PREFIX_BYTES + HEADER_BYTES)))
            prefix = read_prefix(head, name)
            key = keys.get(prefix.key_id) or open_key(prefix)
            if key is None:
                raise BackupKeyError(f"{name} was encrypted for another master key.", name)
            self._decryptor = Decryptor(
                lambda offset, length: fetch(prefix.length + offset, length),
                ciphertext_bytes=object_bytes - prefix.length,
                header=head[prefix.length : prefix.length + HEADER_BYTES],
                key=key,
                associated_data=_associated_data(name, prefix.key_id),
            )
            (length,) = struct.unpack(">I", self._decryptor.read(0, 4))
            self.facts = Facts(**json.loads(bytes(self._decryptor.read(4, min(length, MAX_FACTS_BYTES)))))
        except (CorruptBlobError, ValueError, TypeError, struct.error):
            raise BackupDamagedError(self._item) from None
        self._start = 4 + length
        self._item = self.facts.path

    def content(self) -> Iterator[bytes]:
        """Yield the file; raises BackupDamagedError, at the end too if the whole is not what was written."""
        digest = hashlib.sha256()
        at, end = self._start, self._decryptor.plaintext_bytes
        try:
            while at < end:
                piece = bytes(self._decryptor.read(at, CHUNK_BYTES))
                digest.update(piece)
                at += len(piece)
                yield piece
            self._decryptor.verify_end()
        except CorruptBlobError:
            raise BackupDamagedError(self._item) from None
        if end - self._start != self.facts.size_bytes or digest.hexdigest() != self.facts.sha256:
            raise BackupDamagedError(self._item)


def _associated_data(name: str, key_id: bytes) -> bytes:
    return f"viewbox database backup, format 1, object {name}, key {key_id.hex()}".encode()
