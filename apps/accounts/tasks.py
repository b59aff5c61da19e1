"""Background work of the people room."""

from __future__ import annotations

from apps.accounts import throttle
from apps.accounts.resets import RESET_JOB, send_reset
from apps.accounts.sessions import SessionStore
from apps.jobs.models import Job
from apps.jobs.registry import Effects
from apps.jobs.services import periodic, register


@register(RESET_JOB)
def deliver_reset(job: Job) -> Effects:
    """Send a password letter to whoever the sealed address belongs to."""
    return lambda: send_reset(job.payload["sealed"])


@periodic("accounts.tidy", every_seconds=3600)
def tidy() -> None:
    """Remove ended sessions and failures that no curve looks at any more."""
    SessionStore.clear_expired()
    throttle.forget_old()
