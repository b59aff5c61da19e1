"""What can go wrong with studies: a stable code and a plain sentence each."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class StudiesError(Exception):
    """Base of all errors of this room."""

    code = "studies"
    sentence: str | Promise = _("The study could not be read.")

    def __init__(self, message: str = "") -> None:
        super().__init__(message or str(self.sentence))


class NoThumbnailError(StudiesError):
    """Nothing of this can be drawn: a report, a document, or pixels that no decoder here reads."""

    code = "no-thumbnail"
    sentence = _("There is no picture of this.")


class DocumentRefusedError(StudiesError):
    """What was attached is not a document that can be kept and served safely."""

    code = "document-refused"
    sentence = _("Only PDF, JPEG and PNG files can be attached.")


class CorrectionRefusedError(StudiesError):
    """Patients or studies cannot be put right this way; nothing was changed."""

    code = "correction-refused"
    sentence = _("This cannot be changed.")


class RestoreRefusedError(StudiesError):
    """A deleted study cannot come back as things are."""

    code = "restore-refused"
