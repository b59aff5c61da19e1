"""What becomes of a file, in words a receptionist understands; the codes are for machines and never change."""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.ingest.models import Upload

State = Upload.State

# Outcomes that need no reason: the state says it all.
PLAIN: Final[dict[str, str | Promise]] = {
    State.RECEIVED: _("Arrived safely, being checked"),
    State.EXPANDED: _("Opened; its files are listed one by one"),
    State.WAITING: _("Arrived safely; somebody will say whose images these are"),
    State.STORED: _("Stored"),
    State.DUPLICATE: _("Already there"),
    State.CONFLICT: _("Kept aside: a different version of this image is already stored"),
}

# Our own codes, and those of apps.dicom.errors: the pure room writes English, the page speaks the reader's language.
REASONS: Final[dict[str, str | Promise]] = {
    "same-bytes": _("The same file is already stored."),
    "different-bytes": _(
        "An instance with this identifier but other content is already stored. It was kept; this one was put aside "
        "for a person to decide."
    ),
    "kept-existing": _("Somebody compared the two versions and kept the one that was stored."),
    "replaced": _("Somebody compared the two versions and put this one in the other's place."),
    "kept-both": _("Somebody compared the two versions and kept both, this one under an identifier of its own."),
    "empty": _("The file is empty."),
    "too-large": _("This file is larger than this installation takes."),
    "request-full": _("The link takes no more files than it was made for."),
    "not-wanted": _("Somebody refused what came by this link. Its files are destroyed."),
    "limit-reached": _("The storage of your plan is full."),
    "unreadable": _("The file cannot be read."),
    "study-mismatch": _("The file belongs to another study than the one it was sent to."),
    "to-anonymise": _("It is being anonymised before it is stored."),
    "needs-review": _("Somebody of the clinic has to look at this image before it is stored anonymised."),
    "left-out": _("Somebody of the clinic looked at this image and left it out. Nothing was stored."),
    "document-identified": _("This clinic stores anonymised images only, and a document cannot be anonymised."),
    "system-file": _("This file belongs to a system or a viewer program, not to a study."),
    "document-by-request": _("Only images can be sent by this link. Please send letters and photos another way."),
    "document-without-study": _("Documents belong to a study: open the study and choose “Add documents” there."),
    "nested-archive": _("This is a ZIP inside a ZIP. Please upload it by itself."),
    "archive-empty": _("This ZIP file has no files in it."),
    "archive-damaged": _("This ZIP file is damaged and cannot be opened."),
    "archive-encrypted": _("This ZIP file is protected by a password. Please upload it without one."),
    "archive-too-many-members": _("This ZIP file has more entries than are taken at once."),
    "archive-expands": _("This ZIP file expands to more than is taken at once."),
    "archive-overlap": _("The entries of this ZIP file overlap. It is not opened."),
    "archive-member-name": _("The name of this entry is too long."),
    "archive-member-damaged": _("This entry of the ZIP file is damaged."),
    "archive-special-file": _("This entry is a link or a device, not a file."),
    "archive-method": _("This entry is packed in a way that is not supported. Please pack it as plain ZIP."),
    "disc-damaged": _("This image of a disc is damaged and cannot be opened."),
    "disc-unsupported": _("This image of a disc is of a kind that cannot be opened. Please send its files."),
    "not-dicom": _("This is not a DICOM file."),
    "truncated": _("The file is incomplete: it ends before its data does."),
    "malformed": _("The file is damaged: its contents cannot be read as DICOM."),
    "expands-beyond-limit": _("The file expands beyond the limit when it is decompressed."),
    "too-deep": _("The file nests its sequences too deeply."),
    "too-many-elements": _("The file has too many data elements."),
    "parser-crashed": _("Reading the file failed in a way that only damaged files cause."),
    "parser-timed-out": _("Reading the file took too long."),
    "too-many-pixels": _("The file declares an image too large to be shown."),
    "no-transfer-syntax": _("The file does not say how its pixels are encoded."),
    "no-uid": _("The file lacks a unique identifier that every image must have."),
    "bad-uid": _("A unique identifier in the file is not a valid one."),
    "no-study": _("The file belongs to no study."),
    "infected": _("The virus scanner found something harmful in this file. It was destroyed."),
    "waiting-for-scan": _("This file waits for the virus scan. It is taken by itself as soon as the scanner is back."),
    "over-scan-limit": _(
        "This file is larger than the virus scanner takes. It waits until the operator raises that limit."
    ),
    "dicomdir": _("This is the index of a disc; the images beside it are read instead."),
}


def reason(code: str, message: str = "") -> str:
    """Return the sentence for a code in the active language, or the one that came with it."""
    known = REASONS.get(code)
    return str(known) if known else message or gettext("This file could not be taken.")


def describe(state: str, code: str = "", message: str = "") -> str:
    """Return what became of a file as one phrase in the active language."""
    if state == State.RECEIVED and code:
        return reason(code, message)
    if state == State.CONFLICT and code in REASONS and code != "different-bytes":
        return str(REASONS[code])
    if state in PLAIN:
        return str(PLAIN[state])
    if state == State.IGNORED:
        return gettext("Passed over: %(reason)s") % {"reason": reason(code, message)}
    return gettext("Rejected: %(reason)s") % {"reason": reason(code, message)}
