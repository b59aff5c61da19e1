"""Plans and subscriptions as dated data."""

from django.db import models
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from apps.billing.sizes import decimal_size
from apps.clinics.models import Clinic


class Plan(models.Model):
    """A tier of one price list; a price change is a new row with a later `valid_from_date`."""

    code = models.SlugField(max_length=40)
    name = models.CharField(max_length=100)
    locale = models.CharField(max_length=10)
    currency = models.CharField(max_length=3)
    monthly_price = models.DecimalField(max_digits=10, decimal_places=2)
    storage_bytes = models.PositiveBigIntegerField()
    seats = models.PositiveIntegerField(null=True, blank=True, help_text=_("Empty: no limit."))
    links = models.PositiveIntegerField(null=True, blank=True, help_text=_("Empty: no limit."))
    is_default = models.BooleanField(default=False)
    valid_from_date = models.DateField()
    valid_until_date = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["locale", "storage_bytes"]
        constraints = [models.UniqueConstraint(fields=["code", "valid_from_date"], name="plan_version")]

    def __str__(self) -> str:
        return f"{self.name} ({self.locale}, {decimal_size(self.storage_bytes)})"

    @property
    def price_text(self) -> str:
        """The monthly price with its currency, as the reader's language writes numbers."""
        amount = number_format(self.monthly_price, decimal_pos=2, use_l10n=True, force_grouping=True)
        return _("$%(amount)s") % {"amount": amount} if self.currency == "USD" else f"{amount} {self.currency}"

    @property
    def storage_text(self) -> str:
        """The storage in words: "4,000 GB"."""
        return decimal_size(self.storage_bytes)


class Subscription(models.Model):
    """Which plan a clinic has from when; the newest row that has begun is in force."""

    clinic = models.ForeignKey(Clinic, on_delete=models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["clinic", "-starts_at"]

    def __str__(self) -> str:
        return str(self.pk)
