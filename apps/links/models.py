"""The capability link: whoever holds the token may do what the link says, while it says so."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import Clinic, PublicIdField


class LinkState(models.TextChoices):
    """What is the matter with a link, the most telling first."""

    REVOKED = "revoked", _("Revoked")
    FROZEN = "frozen", _("Frozen after wrong PINs")
    EXPIRED = "expired", _("Expired")
    EXHAUSTED = "exhausted", _("All views used")
    LIVE = "live", _("Live")


class Link(models.Model):
    """A link with an expiry; only the hash of its token is kept. Looked up before any clinic is known."""

    clinic = models.ForeignKey(Clinic, on_delete=models.PROTECT, related_name="+")
    public_id = PublicIdField()
    # What it is good for; a token of one kind opens nothing of another.
    kind = models.CharField(max_length=20, default="share")
    token_sha256 = models.BinaryField(unique=True, max_length=32)
    expires_at = models.DateTimeField()
    pin_hash = models.CharField(max_length=200, blank=True)
    failed_attempts = models.PositiveIntegerField(default=0)
    max_views = models.PositiveIntegerField(null=True, blank=True)
    view_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    frozen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["clinic", "-created_at"], name="link_by_clinic")]

    def state(self, now: datetime | None = None) -> LinkState:
        """Return whether the link may be opened at this moment, or what forbids it."""
        if self.revoked_at is not None:
            return LinkState.REVOKED
        if self.frozen_at is not None:
            return LinkState.FROZEN
        if self.expires_at <= (now or timezone.now()):
            return LinkState.EXPIRED
        if self.max_views is not None and self.view_count >= self.max_views:
            return LinkState.EXHAUSTED
        return LinkState.LIVE

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


class LinkAttempt(models.Model):
    """A wrong PIN, counted for (link, address); or, without a link, a token from this address that opened nothing."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, null=True, blank=True, related_name="attempts")
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    attempted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["link", "remote_addr", "attempted_at"], name="link_attempt_window")]
