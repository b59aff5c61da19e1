"""Anchors of the trail: the newest seal of each chain, signed and carried where whoever owns the database cannot reach.

Seals show that a row was changed; only something outside shows that the last seals were cut off, or that the whole
database is an older copy. An anchor is one line of JSON for one chain: which seal, its digest, when, and an Ed25519
signature over all of it. `manage.py verify_anchors` compares such lines with the database.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.utils import timezone

from apps.audit.models import Seal
from apps.audit.services import digest_of
from apps.exports.receipts import fingerprint
from apps.exports.signing import public_keys, sign

log = logging.getLogger(__name__)

FORMAT: Final = "viewbox-anchor-1"
_SYSLOG_PORTS: Final = {"syslog": 514, "syslog+tls": 6514}
_TIMEOUT_SECONDS: Final = 10
# Facility 13 (log audit), severity 5 (notice): RFC 5424 section 6.2.1.
_PRIORITY: Final = 13 * 8 + 5


class AnchorError(Exception):
    """A line that is no anchor, or not signed by a key that counts."""

    code = "anchor"


@dataclass(frozen=True)
class Finding:
    """What does not agree with an anchor; `number` is the seal's."""

    chain: int
    number: int
    message: str


def anchor_new_seals(known: dict[int, int]) -> int:
    """Anchor each chain whose newest seal is newer than in `known` (chain to number), which is brought up to date.

    Returns how many lines went out. A place that does not take them is logged and tried again with the next seal; a
    chain counts as anchored when one place took it.
    """
    if not settings.AUDIT_ANCHORS:
        return 0
    sent = 0
    for seal in heads():
        if known.get(seal.chain) == seal.number:
            continue
        line = make_anchor(seal)
        if any([_carry(line, place) for place in settings.AUDIT_ANCHORS]):  # noqa: C419  # every place gets it
            known[seal.chain] = seal.number
            sent += 1
    return sent


def heads() -> Iterator[Seal]:
    """Yield the newest seal of each chain."""
    for chain in Seal.objects.order_by("chain").values_list("chain", flat=True).distinct():
        newest = Seal.objects.filter(chain=chain).order_by("-number").first()
        if newest is not None:
            yield newest


def make_anchor(seal: Seal) -> bytes:
    """Return the anchor of a seal: one line of ASCII without its end."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "issuer": str(settings.BASE_URL),
        "at": timezone.now().isoformat(timespec="seconds"),
        "chain": seal.chain,
        "number": seal.number,
        "count": seal.count,
        "last_event_id": seal.last_event_id,
        "digest": digest_of(seal).hex(),
    }
    public_key, signature = sign(_message(facts))
    facts["signature"] = {
        "public_key": base64.b64encode(public_key).decode(),
        "value": base64.b64encode(signature).decode(),
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_anchor(line: bytes, trusted: frozenset[str]) -> dict[str, Any]:
    """Return what an anchor says; `trusted` are fingerprints of keys that count. Raises AnchorError."""
    try:
        facts: dict[str, Any] = json.loads(line)
        signature = facts.pop("signature")
        key = base64.b64decode(signature["public_key"], validate=True)
        value = base64.b64decode(signature["value"], validate=True)
        if facts["format"] != FORMAT or fingerprint(key) not in trusted:
            raise AnchorError("signed by a key that is not trusted")
        Ed25519PublicKey.from_public_bytes(key).verify(value, _message(facts))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, InvalidSignature) as error:
        raise AnchorError("not an anchor, or changed") from error
    return facts


def verify_anchors(lines: Iterable[bytes], trusted: frozenset[str] | None = None) -> tuple[int, list[Finding]]:
    """Compare anchors with the database; return how many there were, and what does not agree.

    Without `trusted` fingerprints the installation's own keys count: then whoever owns the database could have made
    them, and only the file's own safety speaks for it. Raises AnchorError for a line that is none.
    """
    keys = trusted or frozenset(fingerprint(key.value) for key in public_keys())
    count, findings = 0, []
    for line in lines:
        text = line[line.index(b"{") :].strip() if b"{" in line else b""
        if not text:
            continue
        said = read_anchor(text, keys)
        count += 1
        seal = Seal.objects.filter(chain=said["chain"], number=said["number"]).first()
        if seal is None:
            message = f"Seal {said['number']} of {said['at']} is gone: the end was cut off, or this is an older copy."
            findings.append(Finding(said["chain"], said["number"], message))
        elif digest_of(seal).hex() != said["digest"]:
            message = f"Seal {said['number']} is another than it was at {said['at']}."
            findings.append(Finding(said["chain"], said["number"], message))
    return count, findings


def _message(facts: dict[str, Any]) -> bytes:
    return b"viewbox anchor 1\n" + json.dumps(facts, sort_keys=True, separators=(",", ":")).encode("ascii")


def _carry(line: bytes, place: str) -> bool:
    try:
        parts = urlsplit(place)
        if parts.scheme == "file":
            _append(line, parts.path)
        else:
            _send(
                line, parts.hostname or "", parts.port or _SYSLOG_PORTS[parts.scheme], is_tls=parts.scheme != "syslog"
            )
    except (OSError, KeyError, ValueError) as error:
        # An address that is none is said each minute, too.
        log.error("an anchor was not taken: %s", type(error).__name__)
        return False
    return True


def _append(line: bytes, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _send(line: bytes, host: str, port: int, *, is_tls: bool) -> None:
    """Send a line to a syslog receiver: RFC 5424 in frames of RFC 6587 3.4.1, over TLS as in RFC 5425."""
    stamp = timezone.now().isoformat(timespec="seconds")
    message = f"<{_PRIORITY}>1 {stamp} {socket.gethostname()} viewbox - anchor - ".encode() + line
    frame = b"%d %s" % (len(message), message)
    with socket.create_connection((host, port), _TIMEOUT_SECONDS) as plain:
        if not is_tls:
            plain.sendall(frame)
            return
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured:
            secured.sendall(frame)
