"""Every blob to every place: read and authenticated in one, written to the other, read back, noted.

One loop does it all: what has just arrived, what a place missed while it was away, what was found damaged, and what a
place that is new, or was lost, has yet to get.
"""

import fcntl
import hashlib
import hmac
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.clinics.scoping import every_clinic
from apps.keys.errors import KeyUnavailableError
from apps.storage.copies import all_places, note_trouble, places_to_read
from apps.storage.crypto import Buffer, Decryptor
from apps.storage.data_keys import data_key_of
from apps.storage.errors import (
    BlobDestroyedError,
    BlobMissingError,
    CorruptBlobError,
    PlaceUnavailableError,
    StorageError,
)
from apps.storage.models import Blob, Copy
from apps.storage.places import Place, place_named

log = logging.getLogger(__name__)

BATCH = 256
SMALL_BYTES = 4 * 1024 * 1024
GROUP_BYTES = 64 * 1024 * 1024
"""Small blobs are held in memory and written together, about this much at a time."""
WINDOW_BYTES = 4 * 1024 * 1024
THREADS = 4


class SourceFailedError(Exception):
    """A place did not give a blob's authentic bytes; what that means was noted already."""


@dataclass
class Work:
    """One blob: the key that opens it, what is known of its copies, and what turns out now."""

    blob: Blob
    key: bytes
    copies: dict[str, Copy] = field(default_factory=dict)
    ciphertext_sha256: bytes = b""
    """Of the stored bytes, once they were read and found authentic."""
    good: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    locked_until: dict[str, datetime] = field(default_factory=dict)

    def has_good(self, place: str) -> bool:
        """Whether this place holds the blob whole, as far as is known. A fresh blob is where it was written."""
        if place in self.good or place in self.damaged:
            return place in self.good
        known = self.copies.get(place)
        return known.state == Copy.State.GOOD if known else place == self.blob.place

    def sources(self, target: str) -> list[str]:
        """Return the other places to read it from, those known to be good first."""
        others = [place for place in places_to_read(self.blob) if place != target and place not in self.damaged]
        return sorted(others, key=lambda place: not self.has_good(place))


def copy_due(seconds: float = 60.0) -> int:
    """Bring blobs to where they are missing, the oldest first, for about this long; return how many got complete.

    What cannot be copied now (a place is away, or full) stays due.
    """
    deadline = time.monotonic() + seconds
    complete = last = 0
    with _alone() as is_alone, every_clinic():
        if not is_alone:
            return 0
        due = Blob.objects.filter(state=Blob.State.STORED, copied_at=None).order_by("pk")
        while time.monotonic() < deadline and (batch := list(due.filter(pk__gt=last)[:BATCH])):
            last = batch[-1].pk
            complete += copy_blobs(batch)
    return complete


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether nobody else on this machine is at it. Two machines at once do the same work twice, and no harm."""
    with (Path(settings.DATA_DIR) / "copying.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def copy_blobs(blobs: Sequence[Blob]) -> int:
    """Bring these blobs to every place that lacks them; return how many are complete. Needs the scope lifted."""
    works = _works(blobs)
    with ThreadPoolExecutor(THREADS) as pool:
        for target in all_places():
            wanting = [work for work in works if not work.has_good(target)]
            try:
                _copy_to(target, wanting, pool)
            except PlaceUnavailableError as error:
                note_trouble(target, error)
    for work in works:
        if work.damaged and not any(map(work.has_good, places_to_read(work.blob))):
            _bring_back(work)
    return _note(works)


def find_missing() -> int:
    """Make due again every blob that a place was never given (it may be new); return how many."""
    with every_clinic():
        stored = Blob.objects.filter(state=Blob.State.STORED, copied_at__isnull=False)
        return sum(
            stored.exclude(Exists(Copy.objects.filter(blob=OuterRef("pk"), place=place))).update(copied_at=None)
            for place in all_places()
        )


def rebuild(place: str) -> int:
    """Take all copies of a place for lost, so that the loop fills it anew; nothing is deleted. Return how many."""
    with every_clinic(), transaction.atomic():
        copies = Copy.objects.filter(place=place)
        Blob.objects.filter(state=Blob.State.STORED, copies__in=copies).update(copied_at=None)
        return copies.update(state=Copy.State.DAMAGED)


def report_damage(blob: Blob, place: str, error: StorageError) -> None:
    """Note that a place gave no authentic bytes of a blob, so that the loop repairs it. Never raises."""
    note_trouble(place, error)
    if not isinstance(error, (CorruptBlobError, BlobMissingError)):
        return
    log.error("a stored blob is damaged or missing", extra={"place": place, "code": error.code})
    try:
        with every_clinic(), transaction.atomic():
            Copy.objects.filter(blob=blob, place=place).update(state=Copy.State.DAMAGED)
            Blob.objects.filter(pk=blob.pk, state=Blob.State.STORED).update(copied_at=None)
    except Exception:
        # The scrub will find it again; whoever is reading must not suffer from it.
        log.exception("damage could not be noted", extra={"place": place})


def check(work: Work, place: str) -> bool:
    """Read a copy from end to end and note in ``work`` what it is; return whether it is good.

    Raises PlaceUnavailableError if the place does not answer, which says nothing about the copy.
    """
    try:
        for _ in authentic_ciphertext(work, place):
            pass
    except SourceFailedError:
        return False
    return True


def authentic_ciphertext(work: Work, place: str) -> Iterator[Buffer]:
    """Yield a blob's stored bytes from one place, each window only after it was found authentic.

    Read to its end, the place counts as good. Raises SourceFailedError where the bytes are damaged or missing, which
    is noted, and PlaceUnavailableError.
    """
    blob = work.blob
    digest = hashlib.sha256()
    fetched: list[Buffer] = []
    try:
        stored = place_named(place).open(work.blob.object_name, blob.ciphertext_bytes)
        try:

            def fetch(offset: int, length: int) -> Buffer:
                fetched.append(stored.read(offset, length))
                return fetched[-1]

            decryptor = Decryptor(
                fetch,
                ciphertext_bytes=blob.ciphertext_bytes,
                header=bytes(blob.header),
                key=work.key,
                associated_data=blob.associated_data,
            )
            at = 0
            while True:
                if decryptor.plaintext_bytes:
                    _, length = decryptor.aligned(at, min(WINDOW_BYTES, decryptor.plaintext_bytes - at))
                    at += len(decryptor.read(at, length))
                else:
                    decryptor.verify_end()
                digest.update(fetched[-1])
                yield fetched.pop()
                if at >= decryptor.plaintext_bytes:
                    break
        finally:
            stored.close()
    except (CorruptBlobError, BlobMissingError) as error:
        log.error("a stored blob is damaged or missing", extra={"place": place, "code": error.code})
        work.damaged.add(place)
        work.good.discard(place)
        raise SourceFailedError from error
    work.ciphertext_sha256 = digest.digest()
    work.good.add(place)
    work.damaged.discard(place)


def _works(blobs: Sequence[Blob]) -> list[Work]:
    known: dict[int, dict[str, Copy]] = defaultdict(dict)
    for copy in Copy.objects.filter(blob__in=blobs):
        known[copy.blob_id][copy.place] = copy
    works = []
    for blob in blobs:
        try:
            works.append(Work(blob, data_key_of(blob), known[blob.pk]))
        except BlobDestroyedError:
            continue
        except (KeyUnavailableError, CorruptBlobError) as error:
            log.error("a blob is not copied: its key does not open", extra={"code": error.code})
    return works


def _copy_to(target: str, works: Sequence[Work], pool: ThreadPoolExecutor) -> None:
    place = place_named(target)
    is_small = [work.blob.ciphertext_bytes <= SMALL_BYTES for work in works]
    for group in _groups(work for work, small in zip(works, is_small, strict=True) if small):
        contents = list(pool.map(lambda work: _read(work, target), group))
        ready = [(work, content) for work, content in zip(group, contents, strict=True) if content is not None]
        wanted = {work.blob.pk for work, _ in ready if _make_room(work, target, place)}
        place.write_many((work.blob.object_name, content) for work, content in ready if work.blob.pk in wanted)
        list(pool.map(lambda each: _read_back(each[0], target, place), ready))
    for work, small in zip(works, is_small, strict=True):
        if not small:
            _copy_large(work, target, place)


def _bring_back(work: Work) -> None:
    """Look for an older version where versions are kept: the last resort against whoever has all of our keys.

    What comes back is the source of the next round.
    """
    for place in settings.REPLICAS:
        try:
            if place_named(place).bring_back(work.blob.object_name, work.blob.ciphertext_bytes):
                work.damaged.discard(place)
                if check(work, place):
                    log.warning("a blob was brought back from an older version", extra={"place": place})
                    return
        except PlaceUnavailableError as error:
            note_trouble(place, error)


def _groups(works: Iterable[Work]) -> Iterator[list[Work]]:
    group: list[Work] = []
    group_bytes = 0
    for work in works:
        group.append(work)
        group_bytes += work.blob.ciphertext_bytes
        if group_bytes >= GROUP_BYTES:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group


def _read(work: Work, target: str) -> bytes | None:
    """Return the stored bytes from the first other place that gives them, None if none does now."""
    for source in work.sources(target):
        try:
            return b"".join(authentic_ciphertext(work, source))
        except SourceFailedError:
            continue
        except PlaceUnavailableError as error:
            note_trouble(source, error)
    return None


def _copy_large(work: Work, target: str, place: Place) -> None:
    for source in work.sources(target):
        try:
            if place.exists(work.blob.object_name) and not check(work, source):
                continue
            if not _make_room(work, target, place):
                _read_back(work, target, place)
                return
            pieces = authentic_ciphertext(work, source)
            first = next(pieces)
        except SourceFailedError:
            continue
        writer = place.begin(work.blob.object_name)
        try:
            writer.write(first)
            for piece in pieces:
                writer.write(piece)
            writer.commit()
        except SourceFailedError:
            writer.abort()
            continue
        except BaseException:
            writer.abort()
            raise
        _read_back(work, target, place)
        return


def _make_room(work: Work, target: str, place: Place) -> bool:
    """Return whether the blob is to be written, after removing a damaged one whose replacement was just read.

    What lies there and is not known to be damaged was written by somebody else at the same time, or its note was lost.
    """
    if not place.exists(work.blob.object_name):
        return True
    known = work.copies.get(target)
    if target not in work.damaged and not (known and known.state == Copy.State.DAMAGED):
        return False
    place.delete([work.blob.object_name])
    return True


def _read_back(work: Work, target: str, place: Place) -> None:
    """Compare what was written with what was read, byte for byte by their SHA-256."""
    digest = hashlib.sha256()
    try:
        stored = place.open(work.blob.object_name, work.blob.ciphertext_bytes)
        try:
            for at in range(0, work.blob.ciphertext_bytes, WINDOW_BYTES):
                digest.update(stored.read(at, min(WINDOW_BYTES, work.blob.ciphertext_bytes - at)))
        finally:
            stored.close()
    except (BlobMissingError, CorruptBlobError) as error:
        log.warning("a copy does not read back", extra={"place": target, "code": error.code})
    if hmac.compare_digest(digest.digest(), work.ciphertext_sha256):
        lock(work, target)
        work.good.add(target)
        work.damaged.discard(target)
    else:
        log.error("a copy did not read back as written", extra={"place": target})
        work.damaged.add(target)
        work.good.discard(target)


def lock(work: Work, place: str) -> None:
    """Let the place refuse to delete its copy, or go on refusing, where that is configured.

    It is prolonged once half of its time is over. Raises PlaceUnavailableError.
    """
    days = settings.REPLICA_LOCK_DAYS.get(place, 0)
    known = work.copies.get(place)
    now = timezone.now()
    if not days or (known and known.locked_until and known.locked_until > now + timedelta(days=days) / 2):
        return
    place_named(place).lock(work.blob.object_name, now + timedelta(days=days))
    work.locked_until[place] = now + timedelta(days=days)


def _note(works: Sequence[Work]) -> int:
    """Write down what turned out; return how many blobs are complete."""
    now = timezone.now()
    with transaction.atomic():
        rows = Blob.objects.select_for_update().filter(pk__in=[work.blob.pk for work in works])
        living = set(rows.filter(state=Blob.State.STORED).order_by("pk").values_list("pk", flat=True))
        remaining = [work for work in works if work.blob.pk in living]
        save_copies(remaining)
        complete = [work.blob.pk for work in remaining if all(map(work.has_good, all_places()))]
        lost = [work.blob.pk for work in remaining if not any(map(work.has_good, places_to_read(work.blob)))]
        Blob.objects.filter(pk__in=complete).update(copied_at=now, lost_at=None)
        if Blob.objects.filter(pk__in=lost, lost_at=None).update(lost_at=now):
            log.critical("stored blobs are lost: no place holds them whole", extra={"count": len(lost)})
    for work in works:
        # Destroyed while it was being copied: the copy must not outlive it (its key is gone already).
        if work.blob.pk not in living:
            for place in work.good:
                place_named(place).delete([work.blob.object_name])
    return len(complete)


def save_copies(works: Sequence[Work]) -> None:
    """Write what is known of copies now, in the caller's transaction."""
    now = timezone.now()
    rows: list[Copy] = []
    for work in works:
        blob = work.blob
        found = [(place, Copy.State.GOOD) for place in work.good] + [
            (place, Copy.State.DAMAGED) for place in work.damaged
        ]
        for place, state in found:
            known = work.copies.get(place)
            rows.append(
                Copy(
                    blob=blob,
                    clinic_id=blob.clinic_id,
                    place=place,
                    state=state,
                    checked_at=now,
                    ciphertext_sha256=work.ciphertext_sha256,
                    locked_until=work.locked_until.get(place, known.locked_until if known else None),
                )
            )
        if not work.copies and not found:
            # The only place: nobody has read it again yet, the scrub will.
            rows.append(Copy(blob=blob, clinic_id=blob.clinic_id, place=blob.place, checked_at=blob.created_at))
    Copy.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["blob", "place"],
        update_fields=["state", "checked_at", "ciphertext_sha256", "locked_until"],
    )
