"""Where a request comes from, and who stands behind it in the audit trail."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from django.conf import settings
from django.http import HttpRequest

from apps.audit.services import Context


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address as our own outermost proxy saw it.

    With TRUSTED_PROXY_COUNT = n the n-th entry of X-Forwarded-For from the right is taken: everything further left was
    written by the client (ASVS 4.1.3). With 0 the header is never read. A header too short or malformed falls back to
    the connection's own address.
    """
    count: int = settings.TRUSTED_PROXY_COUNT
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    forwarded = _parse(hops[-count]) if 0 < count <= len(hops) else None
    connection = _parse(str(request.META.get("REMOTE_ADDR", "")))
    return str(forwarded or connection or "127.0.0.1")  # a UNIX socket has no address


def lockout_address(request: HttpRequest) -> str:
    """Return the address that failures count for: an IPv6 client owns a whole /64 (RFC 6177), so that counts as one."""
    address = ipaddress.ip_address(client_address(request))
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, an IPv4 one where it is mapped into IPv6; None when it is none. Zones are left off."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def audit_context(request: HttpRequest) -> Context:
    """Return who acts in this request: the token, the signed-in person, or nobody known."""
    where = Context(
        actor_kind="anonymous",
        remote_addr=client_address(request),
        user_agent=request.headers.get("User-Agent", "")[:300],
        request_id=getattr(request, "request_id", ""),
    )
    token = getattr(request, "api_token", None)
    if token is not None:
        return replace(where, actor_kind="token", actor_reference=token.public_id, session_hash=token.public_id)
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return where
    row = getattr(request.session, "row", None)
    return replace(
        where,
        actor_kind="user",
        actor_reference=user.public_id,
        user_id=user.pk,
        user_email=user.email,
        session_hash=row.session_key if row is not None else "",
    )
