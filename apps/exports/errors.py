"""Why something cannot be taken along."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class ExportError(Exception):
    """Base: `code` for programs, `message` for people."""

    code = "export"
    message: str | Promise = _("This cannot be taken along.")

    def __init__(self) -> None:
        super().__init__(str(self.message))


class TooManyExportsError(ExportError):
    """Enough is being prepared for this person or link already."""

    code = "too-many-exports"
    message = _("Three downloads are being prepared already. Wait until one of them is ready.")


class NoFilmError(ExportError):
    """No film can be made: the program for it is missing, or there is nothing that moves."""

    code = "no-film"
    message = _("No film can be made of this.")
