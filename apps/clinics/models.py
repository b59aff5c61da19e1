"""Who owns a row: the clinic, and the base class of everything a clinic owns."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.clinics.scoping import ClinicManager, EditionManager, current_edition, require_scope_of


def make_public_id() -> str:
    """Return 22 URL-safe characters of 131 random bits (ASVS 7.2.3): what stands for an object in URLs.

    The first one is a letter or a digit: a leading hyphen is a formula to a spreadsheet and an option to a command.
    """
    return secrets.choice(string.ascii_letters + string.digits) + secrets.token_urlsafe(16)[:21]


if TYPE_CHECKING:
    TextField = models.CharField[str, str]
else:
    TextField = models.CharField


class PublicIdField(TextField):
    """The random name of a row in URLs; never a DICOM UID, never a sequence number."""

    def __init__(self, **kwargs: Any) -> None:
        fixed: dict[str, Any] = {"max_length": 22, "unique": True, "editable": False, "default": make_public_id}
        super().__init__(**(fixed | kwargs))


def refuse_reserved_slug(slug: str) -> None:
    """Raise ValidationError for a slug that is too short to tell clinics apart."""
    if len(slug) < 2:
        raise ValidationError(_("The short name needs at least two characters."))


class Clinic(models.Model):
    """The tenant: a practice with its own people, studies, keys and plan."""

    public_id = PublicIdField()
    slug = models.SlugField(max_length=50, unique=True, validators=[refuse_reserved_slug])
    name = models.CharField(max_length=200)
    locale = models.CharField(max_length=10, default="en")
    time_zone = models.CharField(max_length=50, default="UTC")
    idle_timeout_minutes = models.PositiveSmallIntegerField(
        default=15, validators=[MinValueValidator(5), MaxValueValidator(60)]
    )
    password_max_age_days = models.PositiveSmallIntegerField(default=180, help_text=_("0 turns expiry off."))
    is_passphrase_mode = models.BooleanField(default=False)
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_suspended(self) -> bool:
        """Whether the installation's staff have closed this clinic."""
        return self.suspended_at is not None


class ClinicOwned(models.Model):
    """Base of every row that belongs to one clinic; unreadable and unwritable outside that clinic's scope."""

    clinic = models.ForeignKey(Clinic, on_delete=models.PROTECT, related_name="+")

    objects = ClinicManager()

    class Meta:
        abstract = True
        # Related look-ups and refresh_from_db go through the base manager: it must be the guarded one too.
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, refusing a row of a clinic other than the one whose scope is open (ScopeError)."""
        require_scope_of(self.clinic_id)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete, refusing a row of another clinic (ScopeError)."""
        require_scope_of(self.clinic_id)
        return super().delete(*args, **kwargs)


class InEdition(ClinicOwned):
    """Base of patients, studies and what they consist of: the clinic's own, or those of one de-identified copy.

    Whoever looks at the one cannot find the other: a link to a copy leads to nothing that names anybody, and a worklist
    shows no copies.
    """

    edition = TextField(max_length=22, default=current_edition, blank=True, editable=False)

    objects = EditionManager()  # type: ignore[misc]  # narrower, on purpose

    class Meta:
        abstract = True
        base_manager_name = "objects"
