"""Why a key cannot be used. Neither names a key's bytes."""

from django.utils.translation import gettext_lazy as _


class KeyUnavailableError(Exception):
    """The key that is needed is not here, or not the right one; the sentence says what to do about it.

    Nothing goes on without it: no key is ever made in place of one that is missing.
    """

    code = "key-unavailable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or str(_("The encryption key is not available.")))


class SealBrokenError(Exception):
    """A sealed secret or a wrapped key was changed, or belongs to another purpose or owner."""

    code = "seal-broken"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or str(_("A protected value was damaged or tampered with.")))
