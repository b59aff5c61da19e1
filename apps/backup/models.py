"""What is known of the copies of the database, and of the drills that proved them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.clinics.models import Clinic, PublicIdField


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


class Drill(models.Model):
    """One proof that everything can be restored from one place: what was looked at, how it went, signed."""

    class State(models.TextChoices):
        """How a drill went."""

        RUNNING = "running", _("Running")
        PASSED = "passed", _("Proven")
        FAILED = "failed", _("Failed")

    public_id = PublicIdField()
    # A name in settings.STORAGES.
    place = models.CharField(max_length=40)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    study_count = models.PositiveIntegerField(default=0)
    instance_count = models.PositiveIntegerField(default=0)
    # The report as it was signed, JSON; empty while it runs.
    content = models.TextField(blank=True)
    public_key = models.BinaryField(null=True)
    signature = models.BinaryField(null=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-finished_at"], name="drill_by_state")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def seconds(self) -> int:
        """How long it took."""
        return round((self.finished_at - self.started_at).total_seconds()) if self.finished_at else 0


class Alarm(models.Model):
    """Something about the backups that somebody must look at; told once, and once more when it is over."""

    # Which alarm, and of which place or item: one row as long as it lasts.
    code = models.CharField(max_length=40)
    item = models.CharField(max_length=200)
    message = models.CharField(max_length=500)
    raised_at = models.DateTimeField(default=timezone.now)
    cleared_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["code", "item"], condition=models.Q(cleared_at__isnull=True), name="one_alarm_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.item}"


class MailedReport(models.Model):
    """The owners of a clinic were sent the report of a month; the row is what keeps it to once."""

    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE, related_name="+")
    # The first day of the month.
    month = models.DateField()
    mailed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "month"], name="one_report_a_month")]

    def __str__(self) -> str:
        return f"{self.clinic_id} {self.month:%Y-%m}"
