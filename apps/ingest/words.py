"""Everything that the upload page's script says; {names} are filled in there."""

from __future__ import annotations

from django.utils.translation import gettext as _


def page_words() -> dict[str, str]:
    """Return the sentences of the page in the reader's language, by the name the script knows them by."""
    return _of_files() | _of_the_whole() | _of_trouble()


def _of_files() -> dict[str, str]:
    return {
        "looking": _("Being looked at"),
        "waiting": _("Waiting to be sent"),
        "sending": _("Being sent"),
        # xgettext:no-python-format (a percent sign, then a word)
        "sendingPart": _("{percent} % sent"),
        "securing": _("Sent, being put safely away"),
        "received": _("Arrived safely, being checked"),
        "earlier": _("Sent earlier, not sent again"),
        "twice": _("Chosen twice, sent once"),
        "unreadable": _("Not sent: this computer could not read the file."),
        "tooLarge": _("Not sent: larger than {limit}, the most that is taken."),
        "notSent": _("Not sent yet"),
        "cancelled": _("Not sent: you cancelled the upload."),
        "refused": _("Not sent: the server did not take this file."),
    }


def _of_the_whole() -> dict[str, str]:
    return {
        "reading": _("Looking through the folders …"),
        "found": _("Files found so far: {count}"),
        "lookingAt": _("Looking at your files: {done} of {total}"),
        "sentLine": _("{done} of {total} files sent · {bytes} of {totalBytes}"),
        "secondsLeft": _("about {count} s left"),
        "minutesLeft": _("about {count} min left"),
        "doneLine": _("{done} of {total} checked"),
        "pausedLine": _("Paused"),
        "allDone": _("Done:"),
        "nothingDone": _("Nothing was sent."),
        "storedCount": _("{count} stored"),
        "earlierCount": _("{count} sent earlier"),
        "duplicateCount": _("{count} already there"),
        "problemCount": _("{count} with problems"),
        "ignoredCount": _("{count} passed over"),
        "openStudy": _("Open study"),
        "openStudyNumber": _("Open study {number}"),
        "csvName": _("upload"),
        "csvFile": _("File"),
        "csvBytes": _("Bytes"),
        "csvOutcome": _("What became of it"),
        "cancelQuestion": _("Stop sending? What has arrived stays; the rest is not sent."),
    }


def _of_trouble() -> dict[str, str]:
    return {
        "lineLost": _(
            "The connection is lost. The upload goes on by itself as soon as it is back; nothing that has arrived is "
            "sent twice."
        ),
        "serverAway": _(
            "The server cannot take files at the moment. Nothing is lost: the upload goes on by itself as soon as it "
            "can."
        ),
        "diskFull": _(
            "The server has no room left. Nothing is lost: the upload goes on by itself as soon as there is room. "
            "Please tell whoever looks after this installation."
        ),
        "quota": _(
            "The storage of the clinic's plan is full, so the upload has stopped. What has arrived is safe. Once there "
            "is room again, choose “Go on”."
        ),
        "signedOut": _(
            "You have been signed out. What has arrived is safe, and the rest is still here: sign in again in another "
            "tab, and the upload goes on by itself."
        ),
        "signIn": _("Sign in in another tab"),
        "otherPerson": _("Somebody else is signed in now. The upload goes on when you sign in again."),
        "ended": _("This upload can no longer be added to. What has arrived is safe."),
        "checkingSlow": _(
            "Everything sent has arrived safely. Checking it takes longer than usual at the moment; it goes on by "
            "itself, and you may leave this page."
        ),
        "serverError": _("The server reported an error. The upload goes on by itself in a moment."),
    }
