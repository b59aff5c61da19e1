"""Slowing guesses down without locking the right person out (CONTROLS, AUTH-07).

django-axes locks (username, address) for 15 minutes after 5 failures. Here stand the two wider curves: a username that
is guessed from many addresses has to wait 1, 2, 4 ... 300 seconds between attempts; an address that fails with many
usernames waits until its failures are 15 minutes old. A single address cannot make a username wait: only five of its
failures count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from django.db.models import Count, Max
from django.http import HttpRequest
from django.utils import timezone

from apps.accounts.models import SignInFailure

USERNAME_WINDOW: Final = timedelta(hours=1)
USERNAME_FREE: Final = 20
ADDRESS_SHARE: Final = 5
MAXIMUM_WAIT_SECONDS: Final = 300
ADDRESS_WINDOW: Final = timedelta(minutes=15)
ADDRESS_LIMIT: Final = 50


def seconds_to_wait(username: str, address: str) -> int:
    """Return after how many seconds an attempt will be looked at; 0 means now."""
    now = timezone.now()
    return max(_wait_of_username(username, now), _wait_of_address(address, now))


def count_attempt(username: str, address: str) -> None:
    """Write an attempt down as failed before it is examined, so that parallel guesses count."""
    SignInFailure.objects.create(username_sha256=_digest(username), remote_addr=address)


def forgive(username: str, address: str) -> None:
    """Forget the failures of this username from this address: the password was right."""
    SignInFailure.objects.filter(username_sha256=_digest(username), remote_addr=address).delete()


def forget_old() -> None:
    """Remove what no curve looks at any more."""
    SignInFailure.objects.filter(failed_at__lt=timezone.now() - USERNAME_WINDOW).delete()


def _wait_of_username(username: str, now: datetime) -> int:
    rows = SignInFailure.objects.filter(username_sha256=_digest(username), failed_at__gt=now - USERNAME_WINDOW)
    by_address = list(rows.values("remote_addr").annotate(count=Count("pk"), last=Max("failed_at")))
    count = sum(min(row["count"], ADDRESS_SHARE) for row in by_address)
    if count < USERNAME_FREE:
        return 0
    delay = min(2 ** min(count - USERNAME_FREE, 10), MAXIMUM_WAIT_SECONDS)
    last: datetime = max(row["last"] for row in by_address)
    return max(0, ceil((last + timedelta(seconds=delay) - now).total_seconds()))


def _wait_of_address(address: str, now: datetime) -> int:
    rows = SignInFailure.objects.filter(remote_addr=address, failed_at__gt=now - ADDRESS_WINDOW)
    # The failure after whose end fewer than the limit remain.
    nth = rows.order_by("-failed_at").values_list("failed_at", flat=True)[ADDRESS_LIMIT - 1 : ADDRESS_LIMIT].first()
    return 0 if nth is None else max(1, ceil((nth + ADDRESS_WINDOW - now).total_seconds()))


def hashed_username(request: HttpRequest, credentials: Mapping[str, str] | None = None) -> str | None:
    """Return the name under which django-axes counts: a hash, since what is typed as a name may be a password."""
    username = (credentials or {}).get("email") or request.POST.get("email")
    return _digest(username.strip().lower()).hex() if username else None


def _digest(username: str) -> bytes:
    return hashlib.sha256(username.encode()).digest()
