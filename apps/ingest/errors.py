"""What can go wrong on the way in: a stable code, a plain sentence, and the HTTP status that says the same."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class IngestError(Exception):
    """Base of the errors of the way in."""

    code = "ingest"
    message: str | Promise = _("This file could not be taken.")
    status = 422

    def __str__(self) -> str:
        return str(self.message)


class TooLargeError(IngestError):
    """A file, or what it declares to be, is larger than this installation takes."""

    code = "too-large"
    message = _("This file is larger than this installation takes.")
    status = 413


class BatchClosedError(IngestError):
    """Files were sent to an upload that its sender had already declared complete."""

    code = "batch-closed"
    message = _("This upload is already complete. Please start a new one.")
    status = 409


class ArchiveError(IngestError):
    """An archive that is not opened at all; nothing of it is stored."""

    def __init__(self, code: str, message: str | Promise) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class MemberError(ArchiveError):
    """One member of an archive that cannot be taken; its neighbours are."""


class ScanError(IngestError):
    """Base of what the virus scan says of a file that it does not call clean."""


class InfectedError(ScanError):
    """The virus scanner knows what is in the file; `signature` is what it calls that."""

    code = "infected"
    message = _("The virus scanner found something harmful in this file. It was destroyed.")

    def __init__(self, signature: str = "") -> None:
        super().__init__(signature)
        self.signature = signature


class ScannerAwayError(ScanError):
    """The virus scanner does not answer, not in time, or knows only old signatures: the file waits."""

    code = "waiting-for-scan"
    message = _("This file waits for the virus scan. It is taken by itself as soon as the scanner is back.")
    status = 503


class ScanLimitError(ScanError):
    """The file, or what is packed into it, is larger than the virus scanner takes: the file waits."""

    code = "over-scan-limit"
    message = _("This file is larger than the virus scanner takes. It waits until the operator raises that limit.")
