"""The capability link: whoever holds the token may do what the link says, while it says so."""

from django.db import models
from django.utils import timezone

from apps.clinics.models import Clinic, PublicIdField


class Link(models.Model):
    """A link with an expiry; only the hash of its token is kept. Looked up before any clinic is known."""

    clinic = models.ForeignKey(Clinic, on_delete=models.PROTECT, related_name="+")
    public_id = PublicIdField()
    token_sha256 = models.BinaryField(unique=True, max_length=32)
    expires_at = models.DateTimeField()
    pin_hash = models.CharField(max_length=200, blank=True)
    failed_attempts = models.PositiveIntegerField(default=0)
    max_views = models.PositiveIntegerField(null=True, blank=True)
    view_count = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    frozen_at = models.DateTimeField(null=True, blank=True)


class LinkSession(models.Model):
    """One opening of a link in one browser; ends with the link, or when idle."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="sessions")
    secret_sha256 = models.BinaryField(unique=True, max_length=32)
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_activity_at = models.DateTimeField(default=timezone.now)


class LinkAttempt(models.Model):
    """A wrong PIN, counted for (link, address)."""

    link = models.ForeignKey(Link, on_delete=models.CASCADE, related_name="attempts")
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    attempted_at = models.DateTimeField(default=timezone.now)
