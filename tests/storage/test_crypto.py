"""The wire format of stored bytes: exactly Tink's, and nothing that was touched comes out of it."""

import io
import secrets
from collections.abc import Callable, Iterator

import pytest
import tink
from tink import proto_keyset_format, secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from apps.storage import crypto
from apps.storage.crypto import HEADER_BYTES, LAYOUT, TAG_BYTES, Decryptor, Encryptor, Layout
from apps.storage.errors import CorruptBlobError

AAD = b"viewbox blob 1, clinic 7, blob abc, kind instance"
KEY = bytes(range(32))

# Written by Tink for Python 1.16.1 with KEY, AAD and segments of 64 bytes: 60 bytes in three segments.
TINK_PLAINTEXT = b"Sixty bytes of plaintext, which need three of such segments."
TINK_CIPHERTEXT = bytes.fromhex(
    "280b4ff2ccf4e94c2f13971801c71d03fa889dd2a103181bba909765094e88fcd39c3382ec066a013eb72f4cf30b7174"
    "2a2de0b4d283391f3f7709a1929ea6352f610c4e0e2c1c5d00f673a82aff75e043f6d81460e1ef6545dfca9025d87fdb"
    "f910eb23f69476c6c38eb269435d7001f3ac93b7b9abca928dba50d8814166293dfc1af798d6949e3120bd59584efa1d"
    "74c14982"
)

SMALL = Layout(segment_bytes=64)
LAYOUTS = [SMALL, Layout(4096), LAYOUT, Layout(1 << 20)]


def boundaries(layout: Layout) -> list[int]:
    """Sizes around every edge of the first three segments."""
    edges = [0, layout.first_room_bytes, layout.first_room_bytes + layout.room_bytes]
    edges.append(edges[-1] + layout.room_bytes)
    return sorted({max(0, edge + step) for edge in edges for step in (-1, 0, 1)})


def encrypt(plaintext: bytes, *, key: bytes = KEY, aad: bytes = AAD, layout: Layout = LAYOUT, step: int = 0) -> bytes:
    encryptor = Encryptor(key, aad, layout)
    step = step or max(1, len(plaintext))
    pieces = [bytes(encryptor.update(plaintext[at : at + step])) for at in range(0, len(plaintext), step)]
    return b"".join(pieces) + encryptor.finalize()


def decryptor(
    ciphertext: bytes,
    *,
    key: bytes = KEY,
    aad: bytes = AAD,
    layout: Layout = LAYOUT,
    header: bytes = b"",
    ciphertext_bytes: int | None = None,
) -> Decryptor:
    return Decryptor(
        lambda offset, length: ciphertext[offset : offset + length],
        ciphertext_bytes=len(ciphertext) if ciphertext_bytes is None else ciphertext_bytes,
        header=header or ciphertext[:HEADER_BYTES],
        key=key,
        associated_data=aad,
        layout=layout,
    )


def decrypt(ciphertext: bytes, **options: object) -> bytes:
    stream = decryptor(ciphertext, **options)  # type: ignore[arg-type]
    stream.verify_end()
    return bytes(stream.read(0, stream.plaintext_bytes))


def tink_primitive(key: bytes, layout: Layout) -> streaming_aead.StreamingAead:
    """Tink's own implementation for one raw key."""
    streaming_aead.register()
    proto = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=key)
    proto.params.ciphertext_segment_size = layout.segment_bytes
    proto.params.derived_key_size = 32
    proto.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = proto.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class KeptOpen(io.BytesIO):
    """Tink closes what it writes to; the bytes are wanted afterwards."""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def tink_encrypt(plaintext: bytes, key: bytes, aad: bytes, layout: Layout) -> bytes:
    target = KeptOpen()
    with tink_primitive(key, layout).new_encrypting_stream(target, aad) as stream:
        stream.write(plaintext)
    return target.content


def tink_decrypt(ciphertext: bytes, key: bytes, aad: bytes, layout: Layout) -> bytes:
    with tink_primitive(key, layout).new_decrypting_stream(io.BytesIO(ciphertext), aad) as stream:
        return bytes(stream.read())


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.segment_bytes))
def test_tink_opens_what_we_write_ENC_01(layout: Layout) -> None:
    for size in boundaries(layout):
        plaintext = secrets.token_bytes(size)
        assert tink_decrypt(encrypt(plaintext, layout=layout), KEY, AAD, layout) == plaintext, size


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.segment_bytes))
def test_we_open_what_tink_writes_ENC_01(layout: Layout) -> None:
    for size in boundaries(layout):
        plaintext = secrets.token_bytes(size)
        assert decrypt(tink_encrypt(plaintext, KEY, AAD, layout), layout=layout) == plaintext, size


def test_tink_refuses_ours_under_another_key_or_associated_data_ENC_01() -> None:
    ciphertext = encrypt(b"pixels")
    for key, aad in ((bytes(32), AAD), (KEY, AAD + b"!")):
        with pytest.raises(tink.TinkError):
            tink_decrypt(ciphertext, key, aad, LAYOUT)


def test_known_ciphertext_of_tink_is_read_and_reproduced_ENC_01(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decrypt(TINK_CIPHERTEXT, layout=SMALL) == TINK_PLAINTEXT
    drawn = iter([TINK_CIPHERTEXT[1:33], TINK_CIPHERTEXT[33:40]])
    monkeypatch.setattr(crypto.secrets, "token_bytes", lambda count: next(drawn))
    assert encrypt(TINK_PLAINTEXT, layout=SMALL) == TINK_CIPHERTEXT


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.segment_bytes))
def test_sizes_agree_both_ways_at_every_edge(layout: Layout) -> None:
    for size in boundaries(layout):
        ciphertext = encrypt(bytes(size), layout=layout)
        assert layout.ciphertext_bytes(size) == len(ciphertext)
        assert layout.plaintext_bytes(len(ciphertext)) == size


@pytest.mark.parametrize("step", [1, 7, 63, 64, 65, 1000])
def test_pieces_of_any_length_make_the_same_stream(step: int) -> None:
    plaintext = secrets.token_bytes(777)
    assert decrypt(encrypt(plaintext, layout=SMALL, step=step), layout=SMALL) == plaintext


def test_any_range_reads_the_same_bytes_with_one_fetch() -> None:
    plaintext = secrets.token_bytes(3000)
    ciphertext = encrypt(plaintext, layout=SMALL)
    fetched: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        fetched.append((offset, length))
        return ciphertext[offset : offset + length]

    stream = Decryptor(
        fetch,
        ciphertext_bytes=len(ciphertext),
        header=ciphertext[:HEADER_BYTES],
        key=KEY,
        associated_data=AAD,
        layout=SMALL,
    )
    assert fetched == []
    draw = secrets.SystemRandom()
    for _ in range(500):
        offset, length = draw.randrange(0, 3100), draw.randrange(0, 400)
        fetched.clear()
        assert stream.read(offset, length) == plaintext[offset : offset + length]
        assert len(fetched) == (1 if length and offset < 3000 else 0)
        if fetched:
            assert fetched[0][1] <= length + 4 * (HEADER_BYTES + SMALL.segment_bytes)


def test_frame_deep_in_a_stream_fetches_only_its_own_segments() -> None:
    size = 1 << 30
    asked: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return bytes(length)

    stream = Decryptor(
        fetch,
        ciphertext_bytes=LAYOUT.ciphertext_bytes(size),
        header=encrypt(b"")[:HEADER_BYTES],
        key=KEY,
        associated_data=AAD,
    )
    with pytest.raises(CorruptBlobError):
        stream.read(size // 2, 512 * 1024)
    ((offset, length),) = asked
    assert length <= 512 * 1024 + 3 * LAYOUT.segment_bytes
    assert offset % LAYOUT.segment_bytes == 0


def test_aligned_range_is_whole_segments() -> None:
    stream = decryptor(encrypt(bytes(1000), layout=SMALL), layout=SMALL)
    assert stream.aligned(0, 1) == (0, SMALL.first_room_bytes)
    assert stream.aligned(SMALL.first_room_bytes, 1) == (SMALL.first_room_bytes, SMALL.room_bytes)
    start, length = stream.aligned(990, 10)
    assert start + length == 1000


def test_impossible_sizes_are_refused_ENC_02() -> None:
    full_first = SMALL.ciphertext_bytes(SMALL.first_room_bytes)
    assert full_first == SMALL.segment_bytes
    impossible = [*range(HEADER_BYTES + TAG_BYTES), *range(full_first + 1, full_first + TAG_BYTES + 1)]
    for size in impossible:
        with pytest.raises(CorruptBlobError):
            SMALL.plaintext_bytes(size)
    assert SMALL.plaintext_bytes(full_first + TAG_BYTES + 1) == SMALL.first_room_bytes + 1


def test_empty_last_segment_is_refused_ENC_02() -> None:
    """A cut through the last byte of a one-byte last segment leaves a size that a naive sum accepts."""
    ciphertext = encrypt(secrets.token_bytes(LAYOUT.first_room_bytes + 1))
    with pytest.raises(CorruptBlobError):
        decryptor(ciphertext[:-1])


def test_end_is_verified_when_only_the_beginning_was_asked_for_ENC_02() -> None:
    ciphertext = encrypt(secrets.token_bytes(500), layout=SMALL)
    cut = decryptor(ciphertext[: 3 * SMALL.segment_bytes], layout=SMALL)
    assert len(cut.read(0, 10)) == 10
    with pytest.raises(CorruptBlobError):
        cut.verify_end()


Manipulation = Callable[[bytes, bytes, secrets.SystemRandom], bytes]


def flip_bit(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    at = draw.randrange(HEADER_BYTES, len(ciphertext))
    return ciphertext[:at] + bytes([ciphertext[at] ^ (1 << draw.randrange(8))]) + ciphertext[at + 1 :]


def flip_header_bit(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    at = draw.randrange(HEADER_BYTES)
    return ciphertext[:at] + bytes([ciphertext[at] ^ (1 << draw.randrange(8))]) + ciphertext[at + 1 :]


def cut_one_byte(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    return ciphertext[:-1]


def cut_at_a_segment(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    return ciphertext[: draw.randrange(1, len(ciphertext) // 64 + 1) * 64 - (0 if len(ciphertext) % 64 else 64)]


def append_bytes(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    return ciphertext + draw.randbytes(draw.randrange(1, 100))


def swap_segments(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    first, second = draw.sample(range(1, len(ciphertext) // 64), 2)
    segments = [ciphertext[at : at + 64] for at in range(0, len(ciphertext), 64)]
    segments[first], segments[second] = segments[second], segments[first]
    return b"".join(segments)


def repeat_a_segment(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    return ciphertext[:128] + ciphertext[64:]


def take_whole_stream_of_other(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    return other


def take_segment_of_other(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    at = draw.randrange(1, len(ciphertext) // 64) * 64
    return ciphertext[:at] + other[at : at + 64] + ciphertext[at + 64 :]


def reverse_segments(ciphertext: bytes, other: bytes, draw: secrets.SystemRandom) -> bytes:
    segments = [ciphertext[at : at + 64] for at in range(64, len(ciphertext) // 64 * 64, 64)]
    return ciphertext[:64] + b"".join(reversed(segments)) + ciphertext[len(ciphertext) // 64 * 64 :]


MANIPULATIONS: list[Manipulation] = [
    flip_bit,
    flip_header_bit,
    cut_one_byte,
    cut_at_a_segment,
    append_bytes,
    swap_segments,
    repeat_a_segment,
    take_whole_stream_of_other,
    take_segment_of_other,
    reverse_segments,
]


@pytest.mark.parametrize("manipulate", MANIPULATIONS, ids=lambda manipulation: manipulation.__name__)
def test_manipulated_stream_is_refused_and_releases_nothing_wrong_ENC_02(manipulate: Manipulation) -> None:
    """Whole reads fail every time; a small read gives the true bytes or none. The older version is the same key and
    associated data with another salt, the worst case of a swap."""
    draw = secrets.SystemRandom()
    for _ in range(100):
        plaintext = draw.randbytes(draw.randrange(400, 1200))
        ciphertext = encrypt(plaintext, layout=SMALL)
        older = encrypt(draw.randbytes(len(plaintext)), layout=SMALL)
        bad = manipulate(ciphertext, older, draw)
        assert bad != ciphertext
        # As the owner of the row reads it: header and size were noted when the stream was written.
        stream = decryptor(bad, layout=SMALL, header=ciphertext[:HEADER_BYTES], ciphertext_bytes=len(ciphertext))
        if manipulate is append_bytes:
            # The bytes behind the noted end are never looked at; the place compares the sizes.
            assert stream.read(0, len(plaintext)) == plaintext
        else:
            with pytest.raises(CorruptBlobError):
                stream.read(0, len(plaintext))
        if manipulate is not take_whole_stream_of_other:
            # As anyone reads it who has nothing but the stream.
            with pytest.raises(CorruptBlobError):
                decrypt(bad, layout=SMALL)
        for _ in range(5):
            offset, length = draw.randrange(len(plaintext)), draw.randrange(1, 200)
            try:
                released = stream.read(offset, length)
            except CorruptBlobError:
                continue
            assert released == plaintext[offset : offset + length]


@pytest.mark.parametrize("aad", [AAD.replace(b"clinic 7", b"clinic 8"), AAD.replace(b"abc", b"abd"), b""])
def test_stream_of_another_owner_is_refused_ENC_02(aad: bytes) -> None:
    with pytest.raises(CorruptBlobError):
        decrypt(encrypt(b"pixels"), aad=aad)


def test_wrong_key_is_refused_ENC_01() -> None:
    with pytest.raises(CorruptBlobError):
        decrypt(encrypt(b"pixels"), key=bytes(32))


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(33)])
def test_key_of_another_length_is_never_used(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Encryptor(key, AAD)


def test_finished_stream_takes_no_more() -> None:
    encryptor = Encryptor(KEY, AAD)
    encryptor.finalize()
    with pytest.raises(ValueError, match="finished"):
        encryptor.update(b"late")
    with pytest.raises(ValueError, match="finished"):
        encryptor.finalize()


def test_stream_never_outgrows_its_segment_number_ENC_04(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "MAX_SEGMENTS", 3)
    with pytest.raises(ValueError, match="too long"):
        encrypt(bytes(200), layout=SMALL)


class NonceSpy:
    """Stands in for AESGCM and notes each nonce it is given."""

    def __init__(self, seen: set[bytes], stream_key: bytes) -> None:
        self.seen, self.stream_key = seen, stream_key

    def note(self, nonce: bytes) -> None:
        assert len(nonce) == 12
        pair = self.stream_key + nonce
        assert pair not in self.seen
        self.seen.add(pair)

    def encrypt_into(self, nonce: bytes, data: bytes, aad: None, target: memoryview) -> None:
        self.note(nonce)

    def encrypt(self, nonce: bytes, data: bytes, aad: None) -> bytes:
        self.note(nonce)
        return bytes(data) + bytes(16)


def test_million_segments_of_many_streams_repeat_no_key_and_nonce_ENC_04(monkeypatch: pytest.MonkeyPatch) -> None:
    """All under ONE data key: streams differ by salt and nonce prefix, segments by number, the last by its mark."""
    seen: set[bytes] = set()
    monkeypatch.setattr(crypto, "_stream_cipher", lambda key, salt, aad: NonceSpy(seen, salt))
    plaintext = bytes(SMALL.first_room_bytes + 499 * SMALL.room_bytes)
    for _ in range(2000):
        encryptor = Encryptor(KEY, AAD, SMALL)
        encryptor.update(plaintext)
        encryptor.finalize()
    assert len(seen) == 1_000_000


def test_same_plaintext_never_gives_the_same_ciphertext_ENC_04() -> None:
    """Tarsnap once had a nonce that stopped counting: equal segments must never look alike."""
    plaintext = bytes(SMALL.first_room_bytes + 50 * SMALL.room_bytes)
    segments = [
        ciphertext[at : at + 64]
        for ciphertext in (encrypt(plaintext, layout=SMALL) for _ in range(50))
        for at in range(64, len(ciphertext), 64)
    ]
    assert len(set(segments)) == len(segments) == 50 * 50


def test_memory_does_not_grow_with_the_stream() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(10_000)

    encryptor = Encryptor(KEY, AAD)
    held = 0
    for piece in pieces():
        encryptor.update(piece)
        held = max(held, len(encryptor._pending))
    assert held <= LAYOUT.segment_bytes
