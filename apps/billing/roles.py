"""The limits a plan sets."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Limit(models.TextChoices):
    """What may run out; over the limit blocks adding, never seeing."""

    STORAGE_BYTES = "storage_bytes", _("Storage")
    SEATS = "seats", _("Seats")
    LINKS = "links", _("Live links")
