"""Who is acting: given explicitly to `record`, and kept for the length of a request for auditlog's change entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Context:
    """Who does something, from where.

    `actor_kind`: user, token, link, system, anonymous. `actor_reference`: a public id or a program's name.
    `session_hash`: a hash of the session, never its key. Nothing here is a secret or says anything about a patient.
    """

    actor_kind: str
    actor_reference: str = ""
    user_id: int | None = None
    user_email: str = ""
    remote_addr: str | None = None
    user_agent: str = ""
    session_hash: str = ""
    request_id: str = ""

    @classmethod
    def system(cls, name: str) -> Context:
        """Return the context of a program of ours: a worker, a command, the scheduler."""
        return cls(actor_kind="system", actor_reference=name)


_NOBODY: Final = Context.system("")
_current: ContextVar[Context] = ContextVar("audit_context", default=_NOBODY)


def current_context() -> Context:
    """Return who is acting in this request or job; the program itself when nobody said."""
    return _current.get()


@contextmanager
def acting(context: Context) -> Iterator[None]:
    """Make `context` the current one, so that changes of configuration models are attributed to it."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
