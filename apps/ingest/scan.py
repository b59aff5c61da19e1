"""The virus scan of everything that arrives, before it becomes visible (CONTROLS UPL-07).

With a scanner in the settings nothing is stored that it has not called clean: whole, and what is packed into it (see
`apps.dicom.embedded`; members of archives arrive as files of their own). A scanner that is down, silent, out of date or
asked for more than it takes leaves the file in quarantine, where a periodic task takes it up again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final

from django.conf import settings
from django.utils import timezone

from apps.clinics.scoping import every_clinic
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.ingest import clamd
from apps.ingest.errors import InfectedError, ScanLimitError, ScannerAwayError
from apps.ingest.models import Upload

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 256 << 10
# Asking who is there must not take as long as scanning the largest file.
GREETING_SECONDS: Final = 5.0
HELD_CODES: Final = (ScannerAwayError.code, ScanLimitError.code)


@dataclass(frozen=True)
class ScannerState:
    """How the scanner is: `code` is "" when it scans, else "off", "down" or "outdated"."""

    code: str
    program: str = ""
    signed_at: datetime | None = None

    @property
    def signature_age(self) -> timedelta | None:
        """How old its signatures are, None when it does not say."""
        return timezone.now() - self.signed_at if self.signed_at else None


def is_on() -> bool:
    """Return whether this installation has a virus scanner."""
    return bool(settings.CLAMAV_URL)


def state() -> ScannerState:
    """Ask the scanner how it is, within a few seconds.

    Signatures without a date are somebody's own: ClamAV's always bring one, and clamd does not start without any.
    """
    if not is_on():
        return ScannerState("off")
    try:
        version = clamd.version(settings.CLAMAV_URL, min(GREETING_SECONDS, settings.CLAMAV_TIMEOUT_SECONDS))
    except ScannerAwayError:
        return ScannerState("down")
    is_old = version.signed_at is not None and timezone.now() - version.signed_at > settings.CLAMAV_MAX_AGE
    return ScannerState("outdated" if is_old else "", version.program, version.signed_at)


def health() -> dict[str, object]:
    """Return the scanner's state and how many files of all clinics wait for it, for the platform's health page."""
    with every_clinic():
        waiting = Upload.objects.filter(state=Upload.State.RECEIVED)
        return {
            "state": state(),
            "held_count": waiting.filter(code=ScannerAwayError.code).count(),
            "over_limit_count": waiting.filter(code=ScanLimitError.code).count(),
            "max_bytes": settings.CLAMAV_MAX_BYTES,
        }


class Scan:
    """One round of scanning: the scanner is asked how it is once, and not again after it failed."""

    def __init__(self) -> None:
        self._is_away = bool(state().code)

    def check(self, file: BinaryIO, *, is_dicom: bool) -> None:
        """Return when the file is clean; raises InfectedError, ScannerAwayError or ScanLimitError for a file to hold.

        `file` is read from its beginning; `is_dicom`: what is packed into it is looked at, too.
        """
        size = file.seek(0, 2)
        if size > settings.CLAMAV_MAX_BYTES:
            # Beyond its own limits clamd answers OK for what it has not seen.
            raise ScanLimitError
        file.seek(0)
        self._ask(iter(lambda: file.read(CHUNK_BYTES), b""))
        if is_dicom:
            for bundle in _bundles(file):
                if len(bundle) > settings.CLAMAV_MAX_BYTES:
                    raise ScanLimitError
                self._ask(_chunks(bundle))

    def _ask(self, chunks: Iterable[bytes]) -> None:
        if self._is_away:
            raise ScannerAwayError
        try:
            signature = clamd.scan(settings.CLAMAV_URL, chunks, settings.CLAMAV_TIMEOUT_SECONDS)
        except ScannerAwayError:
            self._is_away = True
            log.warning("the virus scanner does not answer")
            raise
        if signature:
            raise InfectedError(signature)


def _bundles(file: BinaryIO) -> Sequence[bytes]:
    try:
        return limited.bundles(file)
    except DicomError as error:
        # Taking it apart was too much for the child: what has not been looked into is not clean.
        raise ScanLimitError from error


def _chunks(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    return (bytes(view[at : at + CHUNK_BYTES]) for at in range(0, len(view), CHUNK_BYTES))
