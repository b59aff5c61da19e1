"""The clinic's keys, wrapped by the master key."""

import secrets

from django.db import models
from django.utils import timezone

from apps.clinics.models import ClinicOwned


def make_key_id() -> int:
    """Return 62 random bits: a key's number is never used again, not even after a restore."""
    return secrets.randbits(62)


class InstallationKey(models.Model):
    """A key of the installation itself: what seals its secrets, its digests, the copies of its database.

    The master key wraps these and the clinics' keys and nothing else: a new master key means wrapping a few rows anew.
    """

    class Purpose(models.TextChoices):
        """What the key is for."""

        SECRETS = "secrets"
        DIGESTS = "digests"
        BACKUPS = "backups"

    purpose = models.CharField(max_length=12, choices=Purpose.choices, primary_key=True)
    wrapped = models.BinaryField(editable=False)
    master_fingerprint = models.CharField(max_length=16, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)


class ClinicKey(ClinicOwned):
    """One key-encryption key of a clinic; never stored unwrapped, never beside the blobs (NIST SP 800-57)."""

    class Purpose(models.TextChoices):
        """What the key wraps: data keys of stored blobs, or of blobs not yet accepted."""

        STORED = "stored"
        QUARANTINE = "quarantine"

    id = models.BigIntegerField(primary_key=True, default=make_key_id, editable=False)
    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    wrapped = models.BinaryField(null=True, editable=False)
    # Of the master key it is wrapped by: a wrong one is recognised before anything is tried.
    master_fingerprint = models.CharField(max_length=16, editable=False)
    is_primary = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    destroyed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["clinic", "purpose"], condition=models.Q(is_primary=True), name="one_primary_key_a_purpose"
            )
        ]
