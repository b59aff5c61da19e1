"""Why a link is not made or not opened. The person with the link hears only one of three sentences."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class LinkError(Exception):
    """Base of everything a link can answer with; `message` is for people, `code` for programs."""

    code = "link"
    message: str | Promise = _("This link cannot be opened.")

    def __init__(self) -> None:
        super().__init__(str(self.message))


class LinkRefusedError(LinkError):
    """A link was asked for that may not be made; nothing was created."""

    code = "link-refused"

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__()


class LinkUnavailableError(LinkError):
    """No live link: unknown, expired, revoked, frozen, used up or its clinic closed. Nobody outside learns which."""

    code = "link-unavailable"
    message = _("This link is not valid, or not any more.")


class WrongPinError(LinkError):
    """What was asked for is wrong or missing: the PIN, the date of birth, the code."""

    code = "wrong-pin"
    message = _("This is not right.")


class TooManyAttemptsError(LinkError):
    """Too many wrong answers from this address, or codes asked for; `retry_after_seconds` says how long to wait."""

    code = "too-many-attempts"
    message = _("Too many attempts. Wait a quarter of an hour and try again.")

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
