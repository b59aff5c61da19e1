"""The key of a sealed kit: its secret half sealed with a passphrase (`KEY.age`), its public half in a plain file.

Whoever has the public half can add to a kit and open nothing: what was broken off goes on without the passphrase. It is
marked under a key of the portal's own, so that nobody who can write to the kit has what comes next sealed for himself.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from django.utils.translation import gettext as _
from zxcvbn import zxcvbn

from apps.backup.age_format import NotOpenedError, TooCostlyError, new_identity, open_with, recipient_of, seal_with
from apps.backup.errors import KitFolderError, KitKeyError, KitKindError
from apps.backup.kit_manifest import MANIFEST
from apps.backup.kit_places import KitPlace
from apps.clinics.models import Clinic
from apps.keys.services import keyed_digest

KEY: Final = "KEY.age"
RECIPIENT: Final = "RECIPIENT.txt"
MINIMUM_LENGTH: Final = 20
_MINIMUM_SCORE: Final = 4
"""Of zxcvbn, the best there is: whoever finds a kit may guess for years."""
_EXAMINED_LENGTH: Final = 72
_PURPOSE: Final = "backup.kit-recipient"

Ask = Callable[[], str]


def is_sealed(place: KitPlace) -> bool:
    """Whether a sealed kit is there."""
    return place.size(KEY) is not None


def check_passphrase(passphrase: str) -> None:
    """Raise KitKeyError saying why a passphrase is too weak."""
    if len(passphrase) < MINIMUM_LENGTH:
        raise KitKeyError(
            _("The passphrase is too short: take at least %(count)d characters, best six words drawn by chance.")
            % {"count": MINIMUM_LENGTH}
        )
    if zxcvbn(passphrase[:_EXAMINED_LENGTH])["score"] < _MINIMUM_SCORE:
        raise KitKeyError(_("The passphrase is too easy to guess: best take six words drawn by chance."))


def open_recipient(place: KitPlace, clinic: Clinic, passphrase: str, ask: Ask) -> str:
    """Return the recipient of the kit that is there, or of one begun now.

    A passphrase that is given has to fit; for a new kit `ask` is asked for one if there is none. Raises KitKeyError
    and KitFolderError (something else lies there).
    """
    if not is_sealed(place):
        if place.size(MANIFEST) is not None:
            raise KitKindError(is_sealed=False)
        if not place.is_empty():
            raise KitFolderError
        return _begin(place, clinic, passphrase or ask())
    noted, mark = _noted(place)
    is_ours = bool(noted) and hmac.compare_digest(mark, _mark(clinic, noted))
    if not passphrase:
        if not is_ours:
            raise KitKeyError(
                _("%(path)s is missing or was not written by this portal: give the passphrase (--passphrase-file).")
                % {"path": RECIPIENT}
            )
        return noted
    recipient = recipient_of(open_identity(place, passphrase))
    if not is_ours or noted != recipient:
        place.write(RECIPIENT, [_recipient_file(clinic, recipient)])
    return recipient


def open_identity(place: KitPlace, passphrase: str) -> str:
    """Return the secret half; raises KitKeyError if the passphrase does not open it."""
    try:
        text = open_with(passphrase, b"".join(place.read(KEY))).decode("ascii")
    except TooCostlyError:
        raise KitKeyError(
            _("This computer is too busy or too slow to try a passphrase on %(path)s: try again later, or elsewhere.")
            % {"path": KEY}
        ) from None
    except (NotOpenedError, ValueError):
        raise KitKeyError(_("The passphrase does not open %(path)s, or the file is damaged.") % {"path": KEY}) from None
    return next(line for line in text.splitlines() if not line.startswith("#"))


def _begin(place: KitPlace, clinic: Clinic, passphrase: str) -> str:
    check_passphrase(passphrase)
    identity = new_identity()
    recipient = recipient_of(identity)
    # The secret half first: nothing may ever be sealed for a key that is not kept.
    place.write(KEY, [seal_with(passphrase, f"# {recipient}\n{identity}\n".encode())])
    place.write(RECIPIENT, [_recipient_file(clinic, recipient)])
    return recipient


def _noted(place: KitPlace) -> tuple[str, str]:
    if place.size(RECIPIENT) is None:
        return "", ""
    lines = b"".join(place.read(RECIPIENT)).decode(errors="replace").splitlines()
    recipient = next((line.strip() for line in lines if line.startswith("age1")), "")
    mark = next((line[1:].strip() for line in reversed(lines) if line.startswith("#")), "")
    return recipient, mark if mark.isascii() else ""


def _recipient_file(clinic: Clinic, recipient: str) -> bytes:
    # What age's option --recipients-file reads.
    return f"{recipient}\n# {_mark(clinic, recipient)}\n".encode()


def _mark(clinic: Clinic, recipient: str) -> str:
    return keyed_digest(_PURPOSE, f"{clinic.public_id} {recipient}".encode()).hex()
