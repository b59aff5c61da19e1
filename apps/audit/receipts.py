"""The proof that an event stands in a seal: its values, its place, and the path from its leaf to the seal's root."""

from __future__ import annotations

from typing import Any

from apps.audit.errors import AuditError
from apps.audit.merkle import FIELDS, event_values, path_of, seal_values
from apps.audit.models import AuditEvent, SealMember
from apps.audit.seal import seal_events


class NotSealedError(AuditError):
    """The event stands in no seal yet."""

    code = "not-sealed"


def proof_of(event: AuditEvent) -> dict[str, Any]:
    """Return the proof as JSON values; one that is not sealed yet is sealed now.

    Keys: `fields` (names, in order), `event` (the schema's version, then the values of the fields), `position` in the
    seal, `path` (SHA-256 hashes in hexadecimal, from the bottom up), `seal` (schema version, chain, number, count,
    root, previous digest, last event, time in microseconds since 1970). Raises NotSealedError when another process is
    sealing at this very moment.
    """
    member = _member_of(event)
    if member is None:
        seal_events()
        member = _member_of(event)
    if member is None:
        raise NotSealedError
    leaves = [
        bytes(leaf)
        for leaf in SealMember.objects.filter(seal=member.seal).order_by("position").values_list("leaf", flat=True)
    ]
    [row] = AuditEvent.objects.filter(pk=event.pk).values_list(*FIELDS)
    return {
        "fields": list(FIELDS),
        "event": event_values(row),
        "position": member.position,
        "path": [node.hex() for node in path_of(leaves, member.position)],
        "seal": seal_values(member.seal),
    }


def _member_of(event: AuditEvent) -> SealMember | None:
    return SealMember.objects.select_related("seal").filter(event_id=event.pk).first()
