"""The CRC-32 of stored content, taken when an archive first needs it and kept for the next one."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Final

from django.db import DatabaseError

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.models import Checksum
from apps.storage.models import Blob
from apps.storage.services import iterate_blob

log = logging.getLogger(__name__)

BATCH: Final = 500
# Content up to this size is read once for checksum and copy; above it twice, the first time it is taken along.
HELD_BYTES: Final = 8 << 20


class Checksums:
    """The checksums of one archive's blobs; made with the clinic's scope open, used without."""

    def __init__(self, clinic: Clinic, blobs: Sequence[Blob]) -> None:
        self._clinic = clinic
        self._known: dict[int, int] = {}
        self._new: dict[int, int] = {}
        self._held: tuple[int, bytes] | None = None
        ids = [blob.pk for blob in blobs]
        for start in range(0, len(ids), BATCH):
            rows = Checksum.objects.filter(blob__in=ids[start : start + BATCH])
            self._known.update(rows.values_list("blob_id", "crc32"))

    def crc32_of(self, blob: Blob) -> int:
        """Return a blob's CRC-32, read from its content if need be."""
        known = self._known.get(blob.pk)
        if known is not None:
            return known
        with clinic_scope(self._clinic):
            chunks = iterate_blob(blob)
        if blob.size_bytes <= HELD_BYTES:
            content = b"".join(chunks)
            self._held = (blob.pk, content)
            crc32 = zlib.crc32(content)
        else:
            crc32 = 0
            for chunk in chunks:
                crc32 = zlib.crc32(chunk, crc32)
        self._known[blob.pk] = self._new[blob.pk] = crc32
        return crc32

    def held(self, blob: Blob) -> bytes | None:
        """Return a blob's content if it was just read for its checksum."""
        return self._held[1] if self._held is not None and self._held[0] == blob.pk else None

    def keep(self) -> None:
        """Write down what was learned; the next archive, and the rest of this one, need not read for it."""
        self._held = None
        new, self._new = self._new, {}
        if not new:
            return
        rows = [Checksum(clinic=self._clinic, blob_id=pk, crc32=crc32) for pk, crc32 in new.items()]
        try:
            with clinic_scope(self._clinic):
                Checksum.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)
        except DatabaseError as error:
            # They are read again next time.
            log.warning("checksums not kept: %s", type(error).__name__)
