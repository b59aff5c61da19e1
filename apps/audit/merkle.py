"""The canonical bytes of an event, and Merkle trees over them as in RFC 6962 section 2.1.

A leaf is SHA-256(0x00 || encoding), an inner node SHA-256(0x01 || left || right), a seal's digest SHA-256(0x02 || ...):
what was hashed as one can never be passed off as another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from apps.audit.models import Seal

# Raise it with every change of FIELDS or of the encoding, and keep the old one readable: seals are never made again.
SCHEMA_VERSION: Final = 1

# What a leaf covers: every column of AuditEvent, in this order. The last is the timestamp.
FIELDS: Final = (
    "id",
    "public_id",
    "clinic_id",
    "verb",
    "outcome",
    "actor_kind",
    "actor_reference",
    "actor_id",
    "actor_email",
    "object_kind",
    "object_reference",
    "patient_reference",
    "study_reference",
    "session_hash",
    "remote_addr",
    "remote_port",
    "user_agent",
    "request_id",
    "cid",
    "action",
    "content_type_id",
    "object_pk",
    "object_id",
    "object_repr",
    "serialized_data",
    "changes_text",
    "changes",
    "additional_data",
    "timestamp",
)

NO_DIGEST: Final = bytes(32)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


def microseconds(instant: datetime) -> int:
    """Return whole microseconds since 1970: the same number whatever the database and the time zone."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def leaf_of(row: Sequence[Any]) -> bytes:
    """Return the 32-byte leaf hash of one event, given as the values of FIELDS."""
    return leaf_of_encoding(encode(event_values(row)))


def leaf_of_encoding(encoding: bytes) -> bytes:
    """Return the 32-byte leaf hash of one event, given in its canonical encoding."""
    return hashlib.sha256(b"\x00" + encoding).digest()


def event_values(row: Sequence[Any]) -> list[Any]:
    """Return what a leaf is the hash of, before it is encoded: the schema's version, then the values of FIELDS."""
    return [SCHEMA_VERSION, *row[:-1], microseconds(row[-1])]


def encode(values: Any) -> bytes:
    """Return the canonical encoding: JSON in ASCII, without spaces, keys sorted."""
    # What both write alike is written by the faster one: it escapes neither DEL nor what lies beyond ASCII.
    try:
        quick = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        quick = b"\x7f"
    return quick if quick.isascii() and b"\x7f" not in quick else _encode(values).encode("ascii")


def seal_values(seal: Seal) -> list[Any]:
    """Return what a seal's digest is the hash of, before it is encoded."""
    return [
        seal.schema_version,
        seal.chain,
        seal.number,
        seal.count,
        bytes(seal.root).hex(),
        bytes(seal.previous).hex(),
        seal.last_event_id,
        microseconds(seal.sealed_at),
    ]


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of the leaves in order (RFC 6962 section 2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        # An odd node moves up unchanged: the same tree as RFC 6962's split at the largest power of two.
        pairs = [
            hashlib.sha256(b"\x01" + level[index] + level[index + 1]).digest() for index in range(0, len(level) - 1, 2)
        ]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def path_of(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """Return the audit path of one leaf, from the bottom up (RFC 6962 section 2.1.1): with it the root follows."""
    path: list[bytes] = []
    level, index = list(leaves), position
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        pairs = [hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level, index = pairs + level[len(pairs) * 2 :], index // 2
    return path


def digest_of(seal: Seal) -> bytes:
    """Return the 32-byte digest by which the next seal of the same chain refers to this one."""
    return hashlib.sha256(b"\x02" + encode(seal_values(seal))).digest()
