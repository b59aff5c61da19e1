"""Bearer tokens of a clinic, for devices and scripts (RFC 6750)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import ApiToken, User
from apps.accounts.roles import Scope
from apps.audit.services import Context, record
from apps.clinics.models import Clinic
from apps.clinics.services import Asked, PreparedQuery

PREFIX: Final = "vbx_"
DEFAULT_DAYS: Final = 365


_WITH_DIGEST = PreparedQuery(
    lambda: ApiToken.objects.select_related("clinic").filter(token_sha256=Asked("digest"))  # unique
)


def create_api_token(
    clinic: Clinic,
    scopes: Iterable[Scope],
    *,
    context: Context,
    name: str = "",
    days: int | None = DEFAULT_DAYS,
    created_by: User | None = None,
) -> tuple[ApiToken, str]:
    """Return a new token's row and its secret (256 bits), which is shown once: only the SHA-256 is kept.

    `days` until it expires; None for never. Raises ValueError without a scope.
    """
    chosen = sorted({Scope(scope) for scope in scopes})
    if not chosen:
        raise ValueError("A token needs at least one scope: read, write.")
    secret = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            clinic=clinic,
            name=name,
            token_sha256=hashlib.sha256(secret.encode()).digest(),
            scopes=",".join(chosen),
            created_by=created_by,
            expires_at=None if days is None else timezone.now() + timedelta(days=days),
        )
        _record("token.created", token, context)
    return token, secret


def revoke_api_token(token: ApiToken, *, context: Context) -> None:
    """End a token: the next request with it gets 401."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
            _record("token.revoked", token, context)


def find_token(secret: str) -> ApiToken | None:
    """Return the live token with this secret, found by its hash, else None."""
    if not secret.startswith(PREFIX):
        return None
    digest = hashlib.sha256(secret.encode()).digest()
    token = _WITH_DIGEST.first(digest=digest)
    return token if token is not None and token.is_live else None


def _record(verb: str, token: ApiToken, context: Context) -> None:
    record(
        verb,
        context=context,
        clinic_id=token.clinic_id,
        object_kind="token",
        object_reference=token.public_id,
        details={"scopes": token.scopes.split(",")},
    )
