"""The door of the links room: make a link, open it, ask on every request whether it still holds, take it back.

A link moves through three secrets: the token in its URL (shown once, 256 bits, kept as SHA-256), an optional factor
(PIN, date of birth or one-time code: apps.links.factors), and, once opened, a cookie of its own whose secret is kept as
SHA-256 too. Nothing is cached: each request reads the rows, so that taking a link back works on the next one.
"""

from __future__ import annotations

from apps.links.ending import extend, pause, resume, revoke, revoke_many
from apps.links.factors import ATTEMPT_WINDOW, MAX_ATTEMPTS_BY_ADDRESS
from apps.links.holding import live_links
from apps.links.making import DEFAULT_LIFETIME, MAX_LIFETIME, MAX_VIEW_LIMIT, NewLink, create
from apps.links.models import MAX_ATTEMPTS, Factor
from apps.links.opening import (
    OpenedLink,
    close,
    delete_stale,
    find,
    redeem,
    replace_actor,
    resolve,
    send_code,
    session_hash,
)
from apps.links.telling import page_url, people_to_tell, remind, tell_opened

__all__ = [
    "ATTEMPT_WINDOW",
    "DEFAULT_LIFETIME",
    "MAX_ATTEMPTS",
    "MAX_ATTEMPTS_BY_ADDRESS",
    "MAX_LIFETIME",
    "MAX_VIEW_LIMIT",
    "Factor",
    "NewLink",
    "OpenedLink",
    "close",
    "create",
    "delete_stale",
    "extend",
    "find",
    "live_links",
    "page_url",
    "pause",
    "people_to_tell",
    "redeem",
    "remind",
    "replace_actor",
    "resolve",
    "resume",
    "revoke",
    "revoke_many",
    "send_code",
    "session_hash",
    "tell_opened",
]
