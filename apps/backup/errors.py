"""Why a kit or a backup cannot be made, or is not what it was."""

from django.utils.translation import gettext as _


class KitError(Exception):
    """Base of all: carries a stable ``code`` and a plain sentence."""

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


class KitBucketError(KitFolderError):
    """The bucket cannot be used."""

    code = "kit-bucket"

    def __init__(self, reason: str) -> None:
        KitError.__init__(self, _("The bucket cannot be used. %(reason)s") % {"reason": reason})


class KitKindError(KitError):
    """A kit of the other kind, sealed or plain, is there."""

    code = "kit-kind"

    def __init__(self, *, is_sealed: bool) -> None:
        super().__init__(
            _("A sealed kit lies there: go on with --sealed, or choose an empty folder.")
            if is_sealed
            else _("A kit that is not sealed lies there: go on without --sealed, or choose an empty folder.")
        )


class KitKeyError(KitError):
    """The key of a sealed kit cannot be made or opened."""

    code = "kit-key"


class KitDamagedError(KitError):
    """A file of the kit is missing, or is not what was written."""

    code = "kit-damaged"

    def __init__(self, path: str) -> None:
        super().__init__(_("%(path)s is missing or damaged.") % {"path": path})


class BackupError(Exception):
    """A backup cannot be made, read or restored: carries a stable ``code``, a sentence, and the item it is about."""

    code = "backup"

    def __init__(self, message: str, item: str = "") -> None:
        super().__init__(message)
        self.item = item


class BackupDamagedError(BackupError):
    """Something of the backup is not what was written."""

    code = "backup-damaged"

    def __init__(self, item: str) -> None:
        super().__init__(_("%(item)s is damaged, or was put in another's place.") % {"item": item}, item)


class BackupIncompleteError(BackupError):
    """Something that belongs to the backup is not there."""

    code = "backup-incomplete"


class BackupKeyError(BackupError):
    """The backup was encrypted for another master key."""

    code = "backup-key"


class RestoreRefusedError(BackupError):
    """Nothing is restored, since something would be overwritten or cannot be chosen."""

    code = "restore-refused"
