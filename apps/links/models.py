"""The capability link: whoever holds the token may do what the link says, while it says so."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import Clinic, PublicIdField


class LinkState(models.TextChoices):
    """What is the matter with a link, the most telling first."""

    REVOKED = "revoked", _("Revoked")
    FROZEN = "frozen", _("Frozen after wrong answers")
    EXPIRED = "expired", _("Expired")
    PAUSED = "paused", _("Paused")
    WAITING = "waiting", _("Not open yet")
    EXHAUSTED = "exhausted", _("All views used")
    LIVE = "live", _("Live")


class Factor(models.TextChoices):
    """What somebody with the link has to know besides."""

    NONE = "none", _("Nothing: whoever has the link")
    PIN = "pin", _("A PIN")
    BIRTH_DATE = "birth-date", _("The patient's date of birth")
    MAIL_CODE = "mail-code", _("A one-time code by e-mail")


# As many wrong answers in all freeze a link unless it says otherwise.
MAX_ATTEMPTS: Final = 20


class Link(models.Model):
    """A link with an expiry; only the hash of its token is kept. Looked up before any clinic is known."""

    clinic = models.ForeignKey(Clinic, on_delete=models.PROTECT, related_name="+")
    public_id = PublicIdField()
    # What it is good for; a token of one kind opens nothing of another.
    kind = models.CharField(max_length=20, default="share")
    token_sha256 = models.BinaryField(unique=True, max_length=32)
    # One that its holder passed on: never more than its parent, and over with it.
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    starts_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    factor = models.CharField(max_length=12, choices=Factor.choices, default=Factor.NONE)
    # Of the PIN or of the date of birth.
    pin_hash = models.CharField(max_length=200, blank=True)
    # Where the link was sent to by us, and where one-time codes go.
    recipient_email = models.EmailField(blank=True)
    failed_attempts = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=MAX_ATTEMPTS)
    max_views = models.PositiveIntegerField(null=True, blank=True)
    view_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    frozen_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    # When somebody was told last that it was opened, and that it ends soon.
    notified_at = models.DateTimeField(null=True, blank=True)
    reminded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["clinic", "-created_at"], name="link_by_clinic"),
            models.Index(fields=["expires_at"], condition=models.Q(reminded_at=None, revoked_at=None), name="link_due"),
        ]

    def state(self, now: datetime | None = None) -> LinkState:
        """Return whether the link may be opened at this moment, or what forbids it; its parent's end is its own."""
        moment = now or timezone.now()
        own = self._hindrance(moment)
        if own is not None or self.parent is None:
            return own or self._used_up()
        return self.parent._hindrance(moment) or self._used_up()  # noqa: SLF001  # another row of this class

    def _hindrance(self, moment: datetime) -> LinkState | None:
        """Return what closes the link to those who have it open already, too."""
        if self.revoked_at is not None:
            return LinkState.REVOKED
        if self.frozen_at is not None:
            return LinkState.FROZEN
        if self.expires_at <= moment:
            return LinkState.EXPIRED
        if self.paused_at is not None:
            return LinkState.PAUSED
        if self.starts_at is not None and self.starts_at > moment:
            return LinkState.WAITING
        return None

    def _used_up(self) -> LinkState:
        is_exhausted = self.max_views is not None and self.view_count >= self.max_views
        return LinkState.EXHAUSTED if is_exhausted else LinkState.LIVE

    @property
    def may_be_paused(self) -> bool:
        """Whether pausing it would change anything."""
        return self.state() in (LinkState.LIVE, LinkState.EXHAUSTED, LinkState.WAITING)

    def audit_reference(self) -> ObjectReference:
        """Name this link in the audit trail."""
        return ObjectReference("link", self.public_id)


class LinkSession(models.Model):
    """One opening of a link in one browser; ends with the link, or when idle."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="sessions")
    secret_sha256 = models.BinaryField(unique=True, max_length=32)
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_activity_at = models.DateTimeField(default=timezone.now)


class LinkCode(models.Model):
    """A one-time code that was sent by mail; good for a few minutes and one use."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="codes")
    # A keyed digest: six digits alone would be found by trying.
    digest = models.BinaryField(max_length=32)
    sent_at = models.DateTimeField(default=timezone.now)


class LinkAttempt(models.Model):
    """A wrong PIN, counted for (link, address); or, without a link, a token from this address that opened nothing."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, null=True, blank=True, related_name="attempts")
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    attempted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["link", "remote_addr", "attempted_at"], name="link_attempt_window")]
