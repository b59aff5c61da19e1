"""Codes of the pure room in the reader's language."""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

REASONS: Final[dict[str, str | Promise]] = {
    "secondary-capture": _("Secondary capture: not made by a scanner but copied from a screen or a sheet."),
    "scanned": _("Scanned document or film."),
    "screenshot": _("Screenshot."),
    "burned-in-declared": _("It says itself that identity is burned into its pixels."),
    "pixels-doubtful": _("It may still show text that could not be cleaned for certain."),
    "pixels-unchecked": _("Its pixels cannot be looked at by the program."),
    "encapsulated-document": _("It holds a whole document, which no rule can clean."),
    "video": _("It is a video, which is not cleaned frame by frame."),
    "spoken": _("It holds recorded speech."),
    "unreadable-codestream": _("Its compressed pixels hold parts that cannot be read."),
    "residue": _("Something of the patient was found again after cleaning."),
}
DID: Final[dict[str, str | Promise]] = {
    "removed": _("removed"),
    "emptied": _("emptied"),
    "replaced": _("replaced"),
    "mapped": _("mapped to another"),
    "cleaned": _("cleaned word by word"),
    "shifted": _("shifted in time"),
    "capped": _("capped"),
    "blanked": _("blanked"),
}
PIXELS: Final[dict[str, str | Promise]] = {
    "none": _("without pixels"),
    "unchanged": _("made by a scanner, not changed"),
    "exempt": _("made by a scanner, not changed"),
    "checked": _("looked at, nothing found"),
    "cleaned": _("text cleaned"),
}
PRESETS: Final[dict[str, str | Promise]] = {
    "second-opinion": _(
        "A colleague judges the images: sex, age and size stay, intervals between dates, the machine, and descriptions "
        "word by word."
    ),
    "research": _("Sex, age and size stay, and intervals between dates; who, where and on which machine go."),
    "teaching": _("No dates at all; descriptions stay readable."),
    "minimal": _("Nothing stays that an image can do without."),
}


def reason_words(code: str) -> str:
    """Return why a person has to look, as a sentence."""
    known = REASONS.get(code)
    return str(known) if known is not None else str(_("The file could not be anonymised."))
