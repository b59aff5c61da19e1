"""Blobs from the first byte to the last: encrypted, durable, counted, and gone when they are destroyed."""

import base64
import hashlib
import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum
from django.utils import timezone
from django_scopes import scope
from django_scopes.exceptions import ScopeError
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys.errors import KeyUnavailableError
from apps.keys.models import ClinicKey
from apps.keys.services import forget_clinic_keys, unwrap_data_key
from apps.storage import sweep, tasks
from apps.storage.crypto import LAYOUT
from apps.storage.disk_place import DiskPlace
from apps.storage.errors import BlobDestroyedError, BlobMissingError, CorruptBlobError, PlaceUnavailableError
from apps.storage.models import Blob, Usage
from apps.storage.places import Place, PlaceReader, StoredObject, object_name, place_named
from apps.storage.services import (
    BlobWriter,
    abandon,
    adopt,
    destroy,
    health,
    iterate_blob,
    keeping,
    open_blob,
    used_bytes,
    write_ahead,
    write_blob,
    write_blobs,
)
from tests.storage.test_crypto import tink_decrypt

SIZES = [0, 1, LAYOUT.first_room_bytes, LAYOUT.first_room_bytes + 1, 3 * LAYOUT.segment_bytes + 7]
CANARY = b"CANARY^PATIENT^NAME"


@pytest.fixture
def clinic(in_clinic_a: Clinic) -> Clinic:
    return in_clinic_a


def pieces(content: bytes, step: int = 50_000) -> Iterator[bytes]:
    return (content[at : at + step] for at in range(0, len(content), step))


def path_of(disk: DiskPlace, blob: Blob) -> Path:
    return disk.path_of(object_name(blob.public_id))


def files_below(disk: DiskPlace) -> list[Path]:
    return [path for path in disk.root.rglob("*") if path.is_file()]


def real_sum(clinic: Clinic) -> tuple[int, int]:
    kept = Blob.objects.exclude(state=Blob.State.DESTROYED)
    return kept.aggregate(total=Sum("size_bytes", default=0))["total"], kept.count()


def counted(clinic: Clinic) -> tuple[int, int]:
    row = Usage.objects.filter(clinic=clinic).values_list("stored_bytes", "blob_count").first()
    return row or (0, 0)


class TestWriting:
    @pytest.mark.parametrize("size", SIZES)
    def test_what_was_written_is_read(self, clinic: Clinic, place: Place, size: int) -> None:
        content = secrets.token_bytes(size)
        blob = Blob.objects.get(pk=write_blob(clinic, "instance", pieces(content)).pk)
        assert (blob.size_bytes, bytes(blob.sha256)) == (size, hashlib.sha256(content).digest())
        assert blob.ciphertext_bytes == place.size(object_name(blob.public_id)) == LAYOUT.ciphertext_bytes(size)
        with open_blob(blob) as file:
            assert file.read() == content
        assert b"".join(iterate_blob(blob)) == content

    def test_tink_opens_a_stored_blob_ENC_01(self, clinic: Clinic, disk: DiskPlace) -> None:
        content = secrets.token_bytes(200_000)
        blob = write_blob(clinic, "instance", pieces(content))
        key = unwrap_data_key(clinic.pk, blob.clinic_key_id, bytes(blob.wrapped_key or b""), blob.associated_data)
        assert tink_decrypt(path_of(disk, blob).read_bytes(), key, blob.associated_data, LAYOUT) == content

    def test_each_blob_has_a_key_of_its_own_ENC_01(self, clinic: Clinic, disk: DiskPlace) -> None:
        blobs = [*write_blobs(clinic, "instance", [b"same"] * 20), write_blob(clinic, "instance", [b"same"])]
        keys = {
            unwrap_data_key(clinic.pk, blob.clinic_key_id, bytes(blob.wrapped_key or b""), blob.associated_data)
            for blob in blobs
        }
        assert len(keys) == 21

    def test_nothing_plain_touches_the_disk_at_any_moment_ENC_10(self, clinic: Clinic, disk: DiskPlace) -> None:
        def whole_disk() -> bytes:
            return b"".join(path.read_bytes() for path in files_below(disk))

        with BlobWriter(clinic, "instance") as writer:
            for _ in range(20):
                writer.write(CANARY * 1000)
                assert CANARY not in whole_disk()
            writer.commit()
        write_blobs(clinic, "instance", [CANARY] * 3)
        stored = whole_disk()
        assert len(stored) > 20_000 * len(CANARY)
        for form in (CANARY, CANARY.decode().encode("utf-16-le"), CANARY.hex().encode(), base64.b64encode(CANARY)[:-2]):
            assert form not in stored

    def test_keys_lie_apart_from_the_bytes(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        stored = b"".join(path.read_bytes() for path in files_below(disk))
        assert bytes(blob.wrapped_key or b"") not in stored
        assert blob.wrapped_key

    def test_memory_stays_flat_however_large_the_blob(self, clinic: Clinic, place: Place) -> None:
        chunk = secrets.token_bytes(1 << 20)
        tracemalloc.start()
        try:
            blob = write_blob(clinic, "instance", (chunk for _ in range(80)))
            sum(map(len, iterate_blob(blob)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert blob.size_bytes == 80 << 20
        assert peak < 40 << 20

    def test_writer_knows_size_and_hash_on_the_way(self, clinic: Clinic, disk: DiskPlace) -> None:
        with BlobWriter(clinic, "instance") as writer:
            writer.write(b"pixels")
            assert (writer.size_bytes, writer.sha256) == (6, hashlib.sha256(b"pixels").digest())

    def test_exception_while_writing_leaves_nothing_UPL_01(self, clinic: Clinic, place: Place) -> None:
        def broken() -> Iterator[bytes]:
            yield bytes(9 << 20)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            write_blob(clinic, "instance", broken())
        assert place.remove_unfinished(timezone.now() + timedelta(days=1)) == 0
        assert not Blob.objects.exists()
        assert counted(clinic) == (0, 0)

    def test_leaving_without_commit_leaves_nothing(self, clinic: Clinic, disk: DiskPlace) -> None:
        with BlobWriter(clinic, "instance") as writer:
            writer.write(b"pixels")
        assert files_below(disk) == []
        with pytest.raises(ValueError, match="closed"):
            writer.commit()

    def test_committed_blob_stays_whatever_happens_after(self, clinic: Clinic, disk: DiskPlace) -> None:
        with BlobWriter(clinic, "instance") as writer:
            writer.write(b"pixels")
            blob = writer.commit()
        writer.abort()
        assert open_blob(blob).read() == b"pixels"
        with pytest.raises(ValueError, match="closed"):
            writer.write(b"more")

    def test_row_comes_only_after_the_bytes_UPL_01(
        self, clinic: Clinic, disk: DiskPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def check(blob: Blob, **options: object) -> None:
            assert path_of(disk, blob).stat().st_size == blob.ciphertext_bytes
            raise DatabaseError

        monkeypatch.setattr(Blob, "save", check)
        with pytest.raises(DatabaseError):
            write_blob(clinic, "instance", [b"pixels"])
        # Whether the row is there is not known after a database error, so the bytes stay until the sweep looks.
        assert len(files_below(disk)) == 1
        assert counted(clinic) == (0, 0)

    def test_many_small_blobs_come_back_in_order(
        self, clinic: Clinic, place: Place, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        contents = [secrets.token_bytes(size) for size in (0, 1, 70_000, 5, 200_000)]
        write_blob(clinic, "instance", [b"the counter's row is there"])
        with django_assert_num_queries(5):  # the clinic's key, a savepoint, the rows, the counter, the savepoint's end
            blobs = write_blobs(clinic, "thumbnail", contents)
        assert [open_blob(blob).read() for blob in blobs] == contents
        assert [bytes(blob.sha256) for blob in blobs] == [hashlib.sha256(content).digest() for content in contents]
        assert write_blobs(clinic, "thumbnail", []) == []

    @pytest.mark.parametrize("kind", ["", "Instance", "a b", "x" * 21, "a, blob b"])
    def test_kind_is_one_plain_word(self, clinic: Clinic, disk: DiskPlace, kind: str) -> None:
        with pytest.raises(ValueError, match="kind"):
            write_blob(clinic, kind, [b""])

    def test_writing_needs_the_clinics_scope(self, clinic_a: Clinic, clinic_b: Clinic, disk: DiskPlace) -> None:
        with pytest.raises(ScopeError):
            write_blob(clinic_a, "instance", [b"x"])
        with clinic_scope(clinic_b), pytest.raises(ScopeError):
            write_blob(clinic_a, "instance", [b"x"])
        assert files_below(disk) == []


class TestReading:
    @pytest.fixture
    def content(self) -> bytes:
        return secrets.token_bytes(1_000_003)

    @pytest.fixture
    def blob(self, clinic: Clinic, place: Place, content: bytes) -> Blob:
        return write_blob(clinic, "instance", pieces(content))

    def test_file_seeks_and_reads_like_any_other(self, blob: Blob, content: bytes) -> None:
        draw = secrets.SystemRandom()
        with open_blob(blob) as file:
            assert (file.size, file.seekable(), file.readable(), file.writable()) == (len(content), True, True, False)
            for _ in range(200):
                offset, length = draw.randrange(len(content) + 10), draw.choice([1, 8, 100, 70_000, 300_000])
                assert file.seek(offset) == offset
                assert file.read(length) == content[offset : offset + length]
                assert file.tell() == max(offset, min(offset + length, len(content)))
                assert file.pread(offset, length) == content[offset : offset + length]
            assert file.seek(-5, 2) == len(content) - 5
            assert file.read() == content[-5:]
            assert file.read(1) == b""
        assert file.closed

    def test_reading_in_order_decrypts_no_segment_twice(
        self, blob: Blob, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetched = note_reads(monkeypatch)
        with open_blob(blob) as file:
            assert b"".join(iter(lambda: file.read(1000), b"")) == content
        assert sum(length for _, length in fetched) == blob.ciphertext_bytes
        assert len(fetched) < 8

    def test_any_range_is_iterated(self, blob: Blob, content: bytes) -> None:
        for offset, length in [(0, None), (5, 10), (70_000, 200_000), (999_999, 100), (2_000_000, 1), (3, 0)]:
            parts = list(iterate_blob(blob, offset, length, chunk_bytes=33_333))
            end = None if length is None else offset + length
            assert b"".join(parts) == content[offset:end]
            assert all(0 < len(part) <= 33_333 for part in parts)

    def test_reader_works_after_the_scope_closed(self, clinic_a: Clinic, disk: DiskPlace) -> None:
        with clinic_scope(clinic_a):
            blob = write_blob(clinic_a, "instance", [b"pixels"])
            file, stream = open_blob(blob), iterate_blob(blob)
        assert file.read() == b"pixels"
        assert b"".join(stream) == b"pixels"
        file.close()

    def test_frame_deep_in_a_blob_costs_one_small_read_and_no_query(
        self,
        clinic: Clinic,
        place: Place,
        monkeypatch: pytest.MonkeyPatch,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        chunk = secrets.token_bytes(1 << 20)
        blob = Blob.objects.get(pk=write_blob(clinic, "instance", [chunk] * 40).pk)
        open_blob(blob).close()
        fetched = note_reads(monkeypatch)
        offset = (30 << 20) + 12_345
        with django_assert_num_queries(0), open_blob(blob) as file:
            assert file.pread(offset, 500_000) == (chunk + chunk)[12_345:512_345]
        assert len(fetched) == 1
        assert fetched[0][1] <= 500_000 + 2 * LAYOUT.segment_bytes

    def test_other_clinic_cannot_open_it(self, clinic_a: Clinic, clinic_b: Clinic, disk: DiskPlace) -> None:
        with clinic_scope(clinic_a):
            blob = write_blob(clinic_a, "instance", [b"pixels"])
        with clinic_scope(clinic_b), pytest.raises(ScopeError):
            open_blob(blob)
        with pytest.raises(ScopeError):
            open_blob(blob)

    def test_bytes_that_are_gone_are_named_so(self, blob: Blob, place: Place) -> None:
        place.delete([object_name(blob.public_id)])
        with pytest.raises(BlobMissingError):
            iterate_blob(blob)


def note_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Note the ranges that readers opened from here on ask of their place."""
    fetched: list[tuple[int, int]] = []

    def noting(kind: type[PlaceReader]) -> Callable[[PlaceReader, int, int], object]:
        read = kind.read

        def noting_read(self: PlaceReader, offset: int, length: int) -> object:
            fetched.append((offset, length))
            return read(self, offset, length)

        return noting_read

    for kind in PlaceReader.__subclasses__():
        monkeypatch.setattr(kind, "read", noting(kind))
    return fetched


class TestTampering:
    """Whoever can write to the disk or the bucket, or move rows about, gets nothing wrong read."""

    def manipulations(self, first: bytes, second: bytes) -> Iterator[bytes]:
        segment = LAYOUT.segment_bytes
        yield first[:100] + bytes([first[100] ^ 1]) + first[101:]
        yield bytes([first[0] ^ 1]) + first[1:]
        yield first[:20] + bytes([first[20] ^ 128]) + first[21:]
        yield first[:-1]
        yield first[:segment]
        yield first + b"\0"
        yield first + first[-segment:]
        yield second
        yield first[:segment] + first[2 * segment : 3 * segment] + first[segment : 2 * segment] + first[3 * segment :]
        yield first[:segment] + second[segment : 2 * segment] + first[2 * segment :]
        yield b""

    def test_manipulated_file_is_refused_ENC_02(self, clinic: Clinic, disk: DiskPlace) -> None:
        for _ in range(10):
            content = secrets.token_bytes(3 * LAYOUT.segment_bytes + 5)
            first, second = write_blobs(clinic, "instance", [content, secrets.token_bytes(len(content))])
            path = path_of(disk, first)
            good, other = path.read_bytes(), path_of(disk, second).read_bytes()
            for bad in self.manipulations(good, other):
                path.write_bytes(bad)
                with pytest.raises(CorruptBlobError), open_blob(first) as file:
                    file.read()
                with pytest.raises(CorruptBlobError):
                    assert b"".join(iterate_blob(first)) is None
            path.write_bytes(good)
            assert open_blob(first).read() == content

    def test_damage_at_the_beginning_shows_before_anything_is_streamed(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [bytes(5 << 20)])
        flip(path_of(disk, blob), 5000)
        with pytest.raises(CorruptBlobError):
            iterate_blob(blob)

    def test_damaged_segment_ends_the_stream_before_its_first_byte_ENC_02(
        self, clinic: Clinic, disk: DiskPlace
    ) -> None:
        content = secrets.token_bytes(5 << 20)
        blob = write_blob(clinic, "instance", [content])
        flip(path_of(disk, blob), 3 << 20)
        stream = iterate_blob(blob)
        first_two = next(stream) + next(stream)
        assert content.startswith(first_two)
        with pytest.raises(CorruptBlobError):
            list(stream)

    def test_rows_that_swapped_their_keys_open_nothing_ENC_02(self, clinic: Clinic, disk: DiskPlace) -> None:
        first, second = write_blobs(clinic, "instance", [b"first", b"other"])
        first.wrapped_key, second.wrapped_key = second.wrapped_key, first.wrapped_key
        for blob in (first, second):
            with pytest.raises(CorruptBlobError):
                open_blob(blob)

    @pytest.mark.parametrize("field", ["public_id", "kind", "clinic_id"])
    def test_row_that_poses_as_another_opens_nothing_ENC_02(
        self, clinic: Clinic, clinic_b: Clinic, disk: DiskPlace, field: str
    ) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        other = {"public_id": secrets.token_urlsafe(16), "kind": "thumbnail", "clinic_id": clinic_b.pk}[field]
        setattr(blob, field, other)
        path = path_of(disk, blob)
        path.parent.mkdir(exist_ok=True)
        if field == "public_id":
            files_below(disk)[0].rename(path)
        with every_clinic(), pytest.raises((CorruptBlobError, KeyUnavailableError)):
            open_blob(blob)

    def test_associated_data_names_format_clinic_blob_and_kind_ENC_02(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        words = f"viewbox blob, format 1, clinic {clinic.pk}, blob {blob.public_id}, kind instance"
        assert blob.associated_data == words.encode()

    def test_stored_object_in_a_bucket_is_checked_too_ENC_02(self, clinic: Clinic, bucket: Place) -> None:
        blob, other = write_blobs(clinic, "instance", [b"pixels", b"others"])
        name, other_name = object_name(blob.public_id), object_name(other.public_id)
        foreign = bytes(bucket.open(other_name, other.ciphertext_bytes).read(0, other.ciphertext_bytes))
        for content in (foreign, foreign[:-1], foreign + b"x"):
            bucket.delete([name])
            bucket.write_many([(name, content)])
            with pytest.raises(CorruptBlobError), open_blob(blob) as file:
                file.read()


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))


class TestKeys:
    def test_wrong_master_key_reads_and_writes_nothing_ENC_09(
        self, clinic: Clinic, disk: DiskPlace, settings: Settings
    ) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        files, keys = files_below(disk), ClinicKey.objects.count()
        forget_clinic_keys()
        for wrong in (base64.b64encode(bytes(32)).decode(), "", "nonsense"):
            settings.MASTER_KEY, settings.MASTER_KEY_FILE = wrong, ""
            with pytest.raises(KeyUnavailableError):
                open_blob(blob)
            with pytest.raises(KeyUnavailableError):
                write_blob(clinic, "instance", [b"more"])
            with pytest.raises(KeyUnavailableError):
                write_blobs(clinic, "instance", [b"more"])
        assert (files_below(disk), ClinicKey.objects.count(), Blob.objects.count()) == (files, keys, 1)


class TestAdopting:
    def test_adopted_blob_keeps_its_bytes_and_changes_its_key(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"], quarantined=True)
        assert blob.state == "quarantined"
        before, key_id, usage = path_of(disk, blob).read_bytes(), blob.clinic_key_id, counted(clinic)
        adopt([blob])
        fresh = Blob.objects.get(pk=blob.pk)
        for row in (blob, fresh):
            assert row.state == "stored"
            assert row.clinic_key_id != key_id
            assert open_blob(row).read() == b"pixels"
        assert path_of(disk, blob).read_bytes() == before
        assert counted(clinic) == usage == (6, 1)

    def test_quarantined_blob_can_be_read_for_processing(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"], quarantined=True)
        assert open_blob(blob).read() == b"pixels"

    def test_stored_key_does_not_open_quarantine(self, clinic: Clinic, disk: DiskPlace) -> None:
        held = write_blob(clinic, "instance", [b"pixels"], quarantined=True)
        held.clinic_key_id = write_blob(clinic, "instance", [b"pixels"]).clinic_key_id
        with pytest.raises(CorruptBlobError):
            open_blob(held)

    def test_adopting_twice_changes_nothing(self, clinic: Clinic, disk: DiskPlace) -> None:
        blobs = write_blobs(clinic, "instance", [b"1", b"2"], quarantined=True)
        adopt(blobs)
        keys = [bytes(blob.wrapped_key or b"") for blob in blobs]
        adopt(blobs)
        adopt(Blob.objects.all())
        assert [bytes(blob.wrapped_key or b"") for blob in Blob.objects.order_by("pk")] == keys

    def test_destroyed_blob_is_not_adopted_nor_are_its_companions(self, clinic: Clinic, disk: DiskPlace) -> None:
        kept, gone = write_blobs(clinic, "instance", [b"1", b"2"], quarantined=True)
        destroy([gone])
        with pytest.raises(BlobDestroyedError):
            adopt([kept, gone])
        assert Blob.objects.get(pk=kept.pk).state == kept.state == "quarantined"

    def test_adopting_a_thousand_takes_few_queries(self, clinic: Clinic, disk: DiskPlace) -> None:
        blobs = write_blobs(clinic, "instance", [b"x"] * 1000, quarantined=True)
        adopt(blobs)
        assert Blob.objects.filter(state="stored").count() == 1000
        assert open_blob(blobs[-1]).read() == b"x"


class TestDestroying:
    def test_destroyed_blob_has_no_key_no_bytes_and_no_weight(
        self, clinic: Clinic, place: Place, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        gone, kept = write_blobs(clinic, "instance", [b"gone", b"kept"])
        with django_capture_on_commit_callbacks(execute=True):
            destroy([gone])
            assert place.exists(object_name(gone.public_id))
        row = Blob.objects.get(pk=gone.pk)
        assert (row.state, row.wrapped_key) == ("destroyed", None)
        assert row.destroyed_at
        assert row.bytes_deleted_at
        assert not place.exists(object_name(gone.public_id))
        assert counted(clinic) == real_sum(clinic) == (4, 1)
        assert open_blob(kept).read() == b"kept"
        for blob in (gone, row):
            with pytest.raises(BlobDestroyedError):
                open_blob(blob)

    def test_rolled_back_destruction_destroys_nothing(
        self, clinic: Clinic, disk: DiskPlace, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            destroy([blob])
            transaction.set_rollback(True)
        assert open_blob(Blob.objects.get(pk=blob.pk)).read() == b"pixels"
        assert counted(clinic) == (6, 1)

    def test_destroying_twice_counts_once(self, clinic: Clinic, disk: DiskPlace) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        destroy([blob, blob])
        destroy([blob])
        destroy(Blob.objects.all())
        assert counted(clinic) == (0, 0)

    def test_bytes_that_resist_are_deleted_later(
        self,
        clinic: Clinic,
        disk: DiskPlace,
        monkeypatch: pytest.MonkeyPatch,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])

        def resist(self: DiskPlace, names: object) -> None:
            raise PlaceUnavailableError

        with monkeypatch.context() as away:
            away.setattr(DiskPlace, "delete", resist)
            with django_capture_on_commit_callbacks(execute=True):
                destroy([blob])
            tasks.delete_destroyed_bytes()
        assert path_of(disk, blob).exists()
        assert Blob.objects.get().bytes_deleted_at is None
        with scope():  # as the scheduler runs it
            tasks.delete_destroyed_bytes()
        assert not path_of(disk, blob).exists()
        assert Blob.objects.get().bytes_deleted_at


class TestUsage:
    def test_counter_equals_the_sum_after_any_history(self, clinic: Clinic, disk: DiskPlace) -> None:
        draw = secrets.SystemRandom()
        for _ in range(60):
            living = list(Blob.objects.exclude(state="destroyed"))
            chosen = draw.sample(living, min(len(living), 2))
            acts: list[Callable[[], object]] = [
                lambda: write_blob(clinic, "instance", [bytes(draw.randrange(1000))], quarantined=draw.random() < 0.5),
                lambda: write_blobs(clinic, "instance", [bytes(3), bytes(4)], quarantined=draw.random() < 0.5),
                lambda chosen=chosen: adopt(chosen),
                lambda chosen=chosen: destroy(chosen),
            ]
            with transaction.atomic():
                draw.choice(acts)()
                transaction.set_rollback(draw.random() < 0.2)
            assert counted(clinic) == real_sum(clinic)
            assert used_bytes(clinic) == real_sum(clinic)[0]

    @pytest.mark.django_db(transaction=True)
    def test_writers_at_the_same_time_are_all_counted(self, clinic_a: Clinic, disk: DiskPlace) -> None:
        """The clinic's first blobs too, when nobody has made the counter's row yet."""

        def write(number: int) -> None:
            try:
                with clinic_scope(clinic_a):
                    for _ in range(5):
                        destroy([write_blob(clinic_a, "instance", [bytes(number)])])
                        write_blob(clinic_a, "instance", [bytes(number)])
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(1, 5)))
        with clinic_scope(clinic_a):
            assert counted(clinic_a) == real_sum(clinic_a) == (50, 20)

    def test_asking_is_one_query(
        self, clinic: Clinic, disk: DiskPlace, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            assert used_bytes(clinic) == 0
        write_blob(clinic, "instance", [b"pixels"], quarantined=True)
        with django_assert_num_queries(1):
            assert used_bytes(clinic) == 6

    def test_clinics_are_counted_apart(self, clinic_a: Clinic, clinic_b: Clinic, disk: DiskPlace) -> None:
        for clinic, content in ((clinic_a, b"four"), (clinic_b, b"sixsix")):
            with clinic_scope(clinic):
                write_blob(clinic, "instance", [content])
        with every_clinic():
            assert (used_bytes(clinic_a), used_bytes(clinic_b)) == (4, 6)


LATER = timedelta(hours=2)


class TestSweep:
    def orphan(self, clinic: Clinic, count: int = 1) -> None:
        """Bytes whose row never came, as after a crash."""
        blobs = write_blobs(clinic, "instance", [b"lost"] * count)
        Blob.objects.filter(pk__in=[blob.pk for blob in blobs]).delete()

    def test_old_bytes_without_a_row_are_removed_and_young_ones_kept(self, clinic: Clinic, place: Place) -> None:
        kept = write_blobs(clinic, "instance", [b"kept"] * 3)
        self.orphan(clinic)
        assert sweep.remove_leftovers() == 0
        assert sweep.remove_leftovers(timezone.now() + LATER) == 1
        assert sweep.remove_leftovers(timezone.now() + LATER) == 0
        assert [open_blob(blob).read() for blob in kept] == [b"kept"] * 3

    def test_unfinished_files_are_removed(self, clinic: Clinic, disk: DiskPlace) -> None:
        writer = BlobWriter(clinic, "instance")
        writer.write(bytes(200_000))
        assert sweep.remove_leftovers() == 0
        assert sweep.remove_leftovers(timezone.now() + LATER) == 1
        writer.abort()

    def test_row_that_arrives_during_the_sweep_saves_its_bytes(
        self, clinic: Clinic, disk: DiskPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        list_objects = DiskPlace.list_objects
        late: list[Blob] = []

        def slow_listing(self: DiskPlace) -> Iterator[StoredObject]:
            late.append(write_blob(clinic, "instance", [b"late"]))
            return list_objects(self)

        monkeypatch.setattr(DiskPlace, "list_objects", slow_listing)
        assert sweep.remove_leftovers(timezone.now() + LATER) == 0
        assert open_blob(late[0]).read() == b"late"

    def test_bytes_of_a_destroyed_blob_that_came_back_are_removed(
        self, clinic: Clinic, disk: DiskPlace, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        blob = write_blob(clinic, "instance", [b"pixels"])
        ciphertext = path_of(disk, blob).read_bytes()
        with django_capture_on_commit_callbacks(execute=True):
            destroy([blob])
        path_of(disk, blob).write_bytes(ciphertext)
        assert sweep.remove_leftovers(timezone.now() + LATER) == 1
        assert files_below(disk) == []

    def test_wrong_database_deletes_nothing(
        self, clinic: Clinic, disk: DiskPlace, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An empty or old database knows few of the objects: that is no reason to delete them."""
        write_blobs(clinic, "instance", [b"kept"] * 5)
        self.orphan(clinic, 20)
        assert sweep.remove_leftovers(timezone.now() + LATER) == 0
        assert len(files_below(disk)) == 25
        assert "check that the database is right" in caplog.text

    def test_objects_of_every_clinic_are_known(self, clinic_a: Clinic, clinic_b: Clinic, disk: DiskPlace) -> None:
        for clinic in (clinic_a, clinic_b):
            with clinic_scope(clinic):
                write_blob(clinic, "instance", [b"pixels"])
        with clinic_scope(clinic_a):
            assert sweep.remove_leftovers(timezone.now() + LATER) == 0
        tasks.remove_leftovers()
        assert len(files_below(disk)) == 2


class TestHealth:
    def test_working_storage_is_well_and_probing_leaves_nothing(self, clinic_a: Clinic, place: Place) -> None:
        report = health()
        assert (report["is_ok"], report["code"]) == (True, "")
        assert sweep.remove_leftovers(timezone.now() + LATER) == 0

    def test_free_bytes_are_told_for_a_disk(self, clinic_a: Clinic, disk: DiskPlace) -> None:
        assert health()["free_bytes"]

    def test_broken_place_is_named(self, clinic_a: Clinic, disk: DiskPlace) -> None:
        disk.root.parent.mkdir(exist_ok=True)
        disk.root.write_text("a file where the folder should be")
        report = health()
        assert (report["is_ok"], report["code"]) == (False, "storage-unavailable")
        assert str(disk.root) not in str(report)

    def test_missing_master_key_is_named_with_the_fix_ENC_09(
        self, clinic_a: Clinic, disk: DiskPlace, settings: Settings
    ) -> None:
        settings.MASTER_KEY = settings.MASTER_KEY_FILE = ""
        report = health()
        assert (report["is_ok"], report["code"]) == (False, "key-unavailable")
        assert "PORTAL_MASTER_KEY_FILE" in str(report["message"])

    def test_misconfigured_place_is_named(self, clinic_a: Clinic, settings: Settings) -> None:
        memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
        settings.STORAGES = settings.STORAGES | {"blobs": memory}
        assert health()["message"] == "ImproperlyConfigured"


def test_what_a_crash_left_a_moment_ago_is_gone_within_minutes_F2(in_clinic_a: Clinic, place: Place) -> None:
    """Bytes written ahead of rows that never came; what has a row, or may yet get one, stays."""
    [kept] = write_ahead(in_clinic_a, "instance", [b"kept"])
    with transaction.atomic(), keeping([kept]):
        pass
    [lost] = write_ahead(in_clinic_a, "instance", [b"lost"])
    assert sweep.remove_young_leftovers() == 0
    removed = sweep.remove_young_leftovers(timezone.now() + timedelta(minutes=6))
    assert removed == (1 if place.lists_cheaply else 0)
    assert place.exists(lost.object_name) is not place.lists_cheaply
    assert place.exists(kept.object_name)


def test_bytes_written_ahead_are_deleted_when_no_row_takes_them(in_clinic_a: Clinic) -> None:
    before = used_bytes(in_clinic_a)
    kept, lost = write_ahead(in_clinic_a, "instance", [b"one", b"two"])
    with transaction.atomic(), keeping([kept]):
        pass
    abandon([kept, lost])
    place = place_named(kept.place)
    assert (place.exists(kept.object_name), place.exists(lost.object_name)) == (True, False)
    assert used_bytes(in_clinic_a) == before + 3
