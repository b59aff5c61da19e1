"""Tink's AES-GCM-HKDF streaming format: encryption that is written front to back and read anywhere.

Wire format (https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming, key size and derived key
size 32 bytes, HKDF with SHA-256, RFC 5869):

    header       = header length (1 byte) || salt (32 bytes) || nonce prefix (7 bytes)
    stream key   = HKDF-SHA-256(input key = data key, salt = salt, info = associated data)
    segment i    = AES-256-GCM(stream key, nonce = nonce prefix || i (4 bytes, big endian) || is last (1 byte))

Each ciphertext segment is ``segment_bytes`` long with its 16-byte tag; segment 0 gives up room for the header, and
the last one may be shorter. A stream is never without a segment, and only a stream of one segment may hold nothing.
A segment moved, repeated or cut off changes a nonce and is refused; so is one from another stream, whose key differs.

Nothing here knows about files, Django or who owns the bytes.
"""

import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from apps.storage.errors import CorruptBlobError

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_PREFIX_BYTES = 7
TAG_BYTES = 16
HEADER_BYTES = 1 + SALT_BYTES + NONCE_PREFIX_BYTES
MAX_SEGMENTS = 2**32
"""The segment number is 4 bytes of the nonce."""

Buffer = bytes | bytearray | memoryview
Fetch = Callable[[int, int], Buffer]
"""``fetch(offset, length)`` returns that range of the ciphertext."""


@dataclass(frozen=True)
class Layout:
    """Where plaintext lies in the ciphertext, for one segment size in bytes."""

    segment_bytes: int

    def __post_init__(self) -> None:
        if self.segment_bytes <= HEADER_BYTES + TAG_BYTES:
            raise ValueError("A segment must hold the header, a tag and at least one byte.")

    @property
    def room_bytes(self) -> int:
        """Plaintext bytes in a full segment after the first."""
        return self.segment_bytes - TAG_BYTES

    @property
    def first_room_bytes(self) -> int:
        """Plaintext bytes in a full first segment."""
        return self.room_bytes - HEADER_BYTES

    def segment_count(self, ciphertext_bytes: int) -> int:
        """How many segments a ciphertext of this size has."""
        return max(1, -(-ciphertext_bytes // self.segment_bytes))

    def plaintext_bytes(self, ciphertext_bytes: int) -> int:
        """Return the plaintext size of a ciphertext.

        Raises CorruptBlobError for a size no stream can have, such as one whose last segment would hold
        nothing but its tag although others come before it.
        """
        count = self.segment_count(ciphertext_bytes)
        last_bytes = ciphertext_bytes - (count - 1) * self.segment_bytes
        smallest = TAG_BYTES + 1 if count > 1 else HEADER_BYTES + TAG_BYTES
        if last_bytes < smallest or count > MAX_SEGMENTS:
            raise CorruptBlobError("No encrypted stream has this size.")
        return ciphertext_bytes - HEADER_BYTES - count * TAG_BYTES

    def ciphertext_bytes(self, plaintext_bytes: int) -> int:
        """Return the ciphertext size of a plaintext, header and tags included."""
        beyond_first = max(0, plaintext_bytes - self.first_room_bytes)
        count = 1 + -(-beyond_first // self.room_bytes)
        return HEADER_BYTES + plaintext_bytes + count * TAG_BYTES

    def segment_at(self, plaintext_offset: int) -> int:
        """Return the number of the segment that holds this plaintext byte."""
        if plaintext_offset < self.first_room_bytes:
            return 0
        return 1 + (plaintext_offset - self.first_room_bytes) // self.room_bytes

    def plaintext_start(self, segment: int) -> int:
        """Return the plaintext offset of a segment's first byte."""
        return 0 if segment == 0 else self.first_room_bytes + (segment - 1) * self.room_bytes

    def ciphertext_start(self, segment: int) -> int:
        """Return the ciphertext offset of a segment's first byte (behind the header for segment 0)."""
        return HEADER_BYTES if segment == 0 else segment * self.segment_bytes

    def ciphertext_end(self, segment: int, ciphertext_bytes: int) -> int:
        """Return the ciphertext offset behind a segment's tag."""
        return min((segment + 1) * self.segment_bytes, ciphertext_bytes)


LAYOUT = Layout(segment_bytes=64 * 1024)
"""What every blob is written in."""


def _stream_cipher(key: bytes, salt: bytes, associated_data: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("A data key has 32 bytes.")
    return AESGCM(HKDF(hashes.SHA256(), KEY_BYTES, salt, associated_data).derive(key))


def segment_nonce(prefix: bytes, segment: int, *, is_last: bool) -> bytes:
    """Return the 12-byte nonce of a segment."""
    return prefix + struct.pack(">IB", segment, is_last)


class Encryptor:
    """Encrypts one stream, front to back, holding at most one segment of plaintext.

    ``update()`` returns the ciphertext that can be given out so far, ``finalize()`` the rest. The header comes first.
    One object encrypts one stream: salt and nonce prefix are drawn when it is made.
    """

    def __init__(self, key: bytes, associated_data: bytes, layout: Layout = LAYOUT) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._prefix = secrets.token_bytes(NONCE_PREFIX_BYTES)
        self._cipher = _stream_cipher(key, salt, associated_data)
        self._layout = layout
        self._pending = bytearray()
        self._segment = 0
        self._is_header_due = True
        self._is_finished = False
        self.header = bytes([HEADER_BYTES]) + salt + self._prefix

    def update(self, data: Buffer) -> bytearray:
        """Take plaintext of any length, return the ciphertext that became final (may be empty)."""
        if self._is_finished:
            raise ValueError("This stream is finished.")
        view = memoryview(data).cast("B")
        pending_bytes = len(self._pending)
        # A full segment is held back until a byte follows: only then it is known not to be the last.
        rooms: list[int] = []
        left = pending_bytes + len(view)
        while left > (room := self._room(self._segment + len(rooms))):
            rooms.append(room)
            left -= room
        lead = HEADER_BYTES if self._is_header_due and rooms else 0
        out = bytearray(lead + sum(rooms) + TAG_BYTES * len(rooms))
        if lead:
            out[:HEADER_BYTES] = self.header
            self._is_header_due = False
        target = memoryview(out)[lead:]
        for room in rooms:
            if self._pending:
                taken = room - len(self._pending)
                self._pending += view[:taken]
                plaintext: Buffer = self._pending
            else:
                taken = room
                plaintext = view[:taken]
            self._cipher.encrypt_into(self._next_nonce(is_last=False), plaintext, None, target[: room + TAG_BYTES])
            self._pending = bytearray()
            view = view[taken:]
            target = target[room + TAG_BYTES :]
        self._pending += view
        return out

    def finalize(self) -> bytes:
        """Close the stream and return its last segment (with the header if nothing was given out before)."""
        if self._is_finished:
            raise ValueError("This stream is finished.")
        self._is_finished = True
        lead = self.header if self._is_header_due else b""
        last = self._cipher.encrypt(self._next_nonce(is_last=True), self._pending, None)
        self._pending = bytearray()
        return lead + last

    def _room(self, segment: int) -> int:
        return self._layout.room_bytes if segment else self._layout.first_room_bytes

    def _next_nonce(self, *, is_last: bool) -> bytes:
        if self._segment >= MAX_SEGMENTS:
            raise ValueError("The stream is too long for its segment size.")
        nonce = segment_nonce(self._prefix, self._segment, is_last=is_last)
        self._segment += 1
        return nonce


class Decryptor:
    """Decrypts any range of one stream. Keeps no position and no bytes, so threads may share it if ``fetch`` allows.

    ``header`` and ``ciphertext_bytes`` come from where the stream's owner noted them when it was written, not from
    the stored bytes: nothing needs to be fetched to begin, and a stream cut or lengthened at rest cannot pass for a
    shorter or longer one.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        ciphertext_bytes: int,
        header: bytes,
        key: bytes,
        associated_data: bytes,
        layout: Layout = LAYOUT,
    ) -> None:
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise CorruptBlobError("The header of the encrypted stream is damaged.")
        self.plaintext_bytes = layout.plaintext_bytes(ciphertext_bytes)
        self._ciphertext_bytes = ciphertext_bytes
        self._last_segment = layout.segment_count(ciphertext_bytes) - 1
        self._fetch = fetch
        self._layout = layout
        self._header = header
        self._prefix = header[1 + SALT_BYTES :]
        self._cipher = _stream_cipher(key, header[1 : 1 + SALT_BYTES], associated_data)

    def aligned(self, offset: int, length: int) -> tuple[int, int]:
        """Return the smallest range of whole segments around a plaintext range, as (offset, length)."""
        start = self._layout.plaintext_start(self._layout.segment_at(offset))
        after = self._layout.plaintext_start(self._layout.segment_at(offset + length - 1) + 1)
        return start, min(after, self.plaintext_bytes) - start

    def read(self, offset: int, length: int) -> memoryview:
        """Decrypt a plaintext range with one fetch of just its segments.

        The range is cut to what the stream holds. Raises CorruptBlobError if any of the segments is not authentic;
        no byte of the range is returned then.
        """
        length = min(length, self.plaintext_bytes - offset)
        if offset < 0 or length <= 0:
            return memoryview(b"")
        first, last = self._layout.segment_at(offset), self._layout.segment_at(offset + length - 1)
        plaintext = self._decrypt_segments(first, last)
        skip = offset - self._layout.plaintext_start(first)
        return plaintext[skip : skip + length]

    def verify_end(self) -> None:
        """Decrypt the last segment: a stream that was cut, lengthened or is still being written is refused."""
        self._decrypt_segments(self._last_segment, self._last_segment)

    def _decrypt_segments(self, first: int, last: int) -> memoryview:
        layout = self._layout
        # Segment 0 is fetched with the header before it, to notice a damaged header although ours is at hand.
        start = layout.ciphertext_start(first) if first else 0
        end = layout.ciphertext_end(last, self._ciphertext_bytes)
        ciphertext = memoryview(self._fetch(start, end - start))
        if len(ciphertext) != end - start:
            raise CorruptBlobError("The encrypted stream is shorter than it was when written.")
        if first == 0 and ciphertext[:HEADER_BYTES] != self._header:
            raise CorruptBlobError("The header of the encrypted stream is damaged.")
        plaintext_start = layout.plaintext_start(first)
        plaintext_end = min(layout.plaintext_start(last + 1), self.plaintext_bytes)
        plaintext = bytearray(plaintext_end - plaintext_start)
        target = memoryview(plaintext)
        for segment in range(first, last + 1):
            sealed = ciphertext[
                layout.ciphertext_start(segment) - start : layout.ciphertext_end(segment, self._ciphertext_bytes)
                - start
            ]
            nonce = segment_nonce(self._prefix, segment, is_last=segment == self._last_segment)
            room = len(sealed) - TAG_BYTES
            try:
                self._cipher.decrypt_into(nonce, sealed, None, target[:room])
            except InvalidTag:
                raise CorruptBlobError("A segment of the encrypted stream is not authentic.") from None
            target = target[room:]
        return memoryview(plaintext).toreadonly()
