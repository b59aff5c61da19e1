"""What is known of the copies of the database, and of the drills that proved them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class DatabaseCopy(models.Model):
    """How far one storage place is with the database; written by the program that ships it, twice a minute."""

    # A name in settings.STORAGES.
    place = models.CharField(max_length=40, primary_key=True)
    # Everything committed before then is there.
    shipped_until = models.DateTimeField(null=True)
    file_count = models.PositiveIntegerField(default=0)
    # Why it does not go on; empty while it does.
    code = models.CharField(max_length=40, blank=True)
    seen_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.place
