"""The session engine: rows in the database (revocable), keys stored hashed, an absolute end set once.

Idle and absolute limits (NIST SP 800-63B-4 2.2.3, ASVS 7.3): what a person does counts as activity, what a page does by
itself does not. See `counts_as_activity`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError, transaction
from django.db.models import Min, OuterRef, Subquery
from django.http import HttpRequest
from django.utils import timezone

from apps.accounts.models import Membership, UserSession
from apps.accounts.roles import Rule

IDLE_MINUTES: Final = 15
ADMIN_IDLE_MINUTES: Final = 10
ABSOLUTE: Final = timedelta(hours=12)
ADMIN_ABSOLUTE: Final = timedelta(hours=8)
STEP_UP: Final = timedelta(minutes=5)
# Activity is written down at most this often: a frame request must not cost a commit.
TOUCH_EVERY: Final = timedelta(seconds=30)


def _strictest_clinic() -> Subquery:
    rows = Membership.objects.filter(user=OuterRef("user")).order_by().values("user")
    return Subquery(rows.annotate(minutes=Min("clinic__idle_timeout_minutes")).values("minutes"))


class SessionStore(SessionBase):
    """Sessions as UserSession rows; `row` is the row behind the current session, None before it is saved."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.row: UserSession | None = None

    def load(self) -> dict[str, Any]:
        """Return the session's data; an unknown, ended or overdue session is empty."""
        if self.session_key is None:
            return {}
        rows = UserSession.objects.select_related("user").annotate(clinic_idle_minutes=_strictest_clinic())
        digest = UserSession.digest_of(self.session_key)
        self.row = rows.filter(session_key=digest, expire_date__gt=timezone.now()).first()
        if self.row is None:
            self._session_key = None
            return {}
        return self.decode(self.row.session_data)

    def exists(self, session_key: str) -> bool:
        """Return whether a session with this key is stored."""
        return UserSession.objects.filter(session_key=UserSession.digest_of(session_key)).exists()

    def create(self) -> None:
        """Make a new key and store an empty session under it."""
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        """Store the data; raises UpdateError when the session was ended meanwhile (it never comes back)."""
        if self.session_key is None:
            self.create()
            return
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        digest = UserSession.digest_of(self.session_key)
        if must_create:
            row = UserSession(session_key=digest, session_data=self.encode(data), expire_date=timezone.now() + ABSOLUTE)
            try:
                with transaction.atomic():
                    row.save(force_insert=True)
            except IntegrityError as error:
                raise CreateError from error
            self.row = row
            return
        # The row's end is not touched: activity never prolongs the absolute limit.
        changed = UserSession.objects.filter(session_key=digest).update(
            session_data=self.encode(data), user_id=data.get(SESSION_KEY)
        )
        if not changed:
            raise UpdateError

    def delete(self, session_key: str | None = None) -> None:
        """End a session: without its row the key opens nothing."""
        key = session_key or self.session_key
        if key is not None:
            UserSession.objects.filter(session_key=UserSession.digest_of(key)).delete()

    @classmethod
    def clear_expired(cls) -> None:
        """Remove sessions past their absolute end."""
        UserSession.objects.filter(expire_date__lt=timezone.now()).delete()


def idle_limit(row: UserSession) -> timedelta:
    """Return how long this session may rest: the strictest of the person's clinics, 10 minutes for platform admins."""
    minutes = int(getattr(row, "clinic_idle_minutes", None) or IDLE_MINUTES)
    if row.user is not None and row.user.is_platform_admin:
        minutes = min(minutes, ADMIN_IDLE_MINUTES)
    return timedelta(minutes=minutes)


def is_overdue(row: UserSession) -> bool:
    """Return whether the session rested too long, or passed its absolute end."""
    now = timezone.now()
    return now >= row.expire_date or now - row.last_activity_at >= idle_limit(row)


def counts_as_activity(request: HttpRequest, rule: Rule | None) -> bool:
    """Return whether a request shows that a person is there.

    A page opened or a form sent does. Polling marked `X-Background: 1` does not, nor do API requests: a viewer fetches
    frames ahead by itself, so it reports a person's clicks and keys with GET account/activity/ instead.
    """
    return request.headers.get("X-Background") != "1" and not (rule is not None and rule.api)


def touch(row: UserSession) -> None:
    """Write down that a person is active, at most every 30 seconds."""
    now = timezone.now()
    if now - row.last_activity_at < TOUCH_EVERY:
        return
    UserSession.objects.filter(pk=row.pk).update(last_activity_at=now)
    row.last_activity_at = now
