"""A ZIP of any size, made while it is sent: memory stays flat, nothing is written down."""

from __future__ import annotations

import datetime
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_zip import ZIP_64, stream_zip

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.models import Blob
from apps.storage.services import iterate_blob

CHUNK_BYTES: Final = 1 << 20
# Plain pixels shrink to half at the fastest level; what is compressed already passes as it is, 20 times as fast.
LEVEL: Final = 1
_MODE: Final = 0o100600
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Member:
    """One file of an archive: its path in it, when it was stored, its bytes, whether compressed already."""

    path: str
    stored_at: datetime.datetime
    blob: Blob
    is_compressed: bool = False


class _Compression:
    """Makes the compressor of each member: the library asks for it when it begins one."""

    level = LEVEL

    def __call__(self) -> Any:
        return zlib.compressobj(self.level, zlib.DEFLATED, -zlib.MAX_WBITS)


def stream(clinic: Clinic, members: Sequence[Member]) -> Iterator[bytes]:
    """Return the archive's bytes.

    Nothing is queried when this runs (a response is sent after the clinic's scope closed): rows come with their blobs.
    The first blob is opened before this returns, so that a fault still becomes a status code.
    """
    first = iterate_blob(members[0].blob, chunk_bytes=CHUNK_BYTES) if members else None
    compression = _Compression()
    return iter(stream_zip(_files(clinic, members, first, compression), get_compressobj=compression))


def _files(
    clinic: Clinic, members: Sequence[Member], first: Iterator[bytes] | None, compression: _Compression
) -> Iterator[Any]:
    for member in members:
        compression.level = 0 if member.is_compressed else LEVEL
        content, first = first, None
        if content is None:
            # Keys are unwrapped in the clinic's scope, which the request has left by now.
            with clinic_scope(clinic):
                content = iterate_blob(member.blob, chunk_bytes=CHUNK_BYTES)
        yield member.path, member.stored_at.replace(tzinfo=None), _MODE, ZIP_64, content


def safe_name(*parts: object) -> str:
    """Return a name that means the same on every file system: letters, digits, "-" and "_", at most 64."""
    text = " ".join(str(part) for part in parts if part not in (None, ""))
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("-", plain).strip("-_")[:64].rstrip("-_") or "unnamed"
