"""Why a kit cannot be made, or is not what it was."""

from django.utils.translation import gettext as _


class KitError(Exception):
    """Base of both: carries a stable ``code`` and a plain sentence."""

    code = "kit"


class KitFolderError(KitError):
    """The folder cannot be used."""

    code = "kit-folder"

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            _("The folder cannot be written: %(reason)s.") % {"reason": reason}
            if reason
            else _("Something else lies in this folder: choose an empty one, or that of a kit to complete.")
        )


class KitDamagedError(KitError):
    """A file of the kit is missing, or is not what was written."""

    code = "kit-damaged"

    def __init__(self, path: str) -> None:
        super().__init__(_("%(path)s is missing or damaged.") % {"path": path})
