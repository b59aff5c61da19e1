"""What a person fills in to ask somebody outside for images, and to decide about what came."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.ingest.requests import DEFAULT_FILES
from apps.links.services import DEFAULT_LIFETIME, MAX_VIEW_LIMIT

LIFETIME_DAYS: Final = (1, 3, 7, 14, 30, 90)
# As every page shows sizes.
GIGABYTE: Final = 1 << 30
MOST_FILES: Final = 100_000
SIZES: Final = (1, 2, 5, 10, 20, 50)


def _lifetime_choices() -> list[tuple[int, str]]:
    """Return the lifetimes in the reader's language; asked for with every form, as a counted text is made at once."""
    return [(days, ngettext("%(days)d day", "%(days)d days", days) % {"days": days}) for days in LIFETIME_DAYS]


class LifetimeForm(forms.Form):
    """How long a request holds, from now on."""

    lifetime_days = forms.TypedChoiceField(
        label=_("Valid for"),
        coerce=int,
        choices=_lifetime_choices,
        initial=DEFAULT_LIFETIME.days,
        widget=forms.Select(attrs={"class": "form-select"}),
    )

    @property
    def lifetime(self) -> timedelta:
        """How long the link holds."""
        return timedelta(days=self.cleaned_data["lifetime_days"])


class UploadRequestForm(LifetimeForm):
    """Whom a request is for, what it may bring, and how it is protected."""

    field_order = ("title", "note")

    title = forms.CharField(
        label=_("For whom"),
        max_length=120,
        widget=forms.TextInput(attrs={"class": "form-control", "autocomplete": "off"}),
        help_text=_("Only your clinic sees this: the practice or person you send the link to."),
    )
    note = forms.CharField(
        label=_("Note to the sender"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        help_text=_("Shown after the link was opened: which images you would like, for instance."),
    )
    max_uses = forms.IntegerField(
        label=_("How often it may be opened"),
        required=False,
        min_value=1,
        max_value=MAX_VIEW_LIMIT,
        widget=forms.NumberInput(attrs={"class": "form-control", "inputmode": "numeric"}),
        help_text=_("Empty: any number of times."),
    )
    max_files = forms.IntegerField(
        label=_("At most so many files"),
        min_value=1,
        max_value=MOST_FILES,
        initial=DEFAULT_FILES,
        widget=forms.NumberInput(attrs={"class": "form-control", "inputmode": "numeric"}),
    )
    max_gigabytes = forms.TypedChoiceField(
        label=_("At most so much in all"),
        coerce=int,
        choices=[(size, f"{size} GB") for size in SIZES],
        initial=5,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    has_pin = forms.BooleanField(
        label=_("Protect with a PIN"),
        required=False,
        initial=True,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
        help_text=_("Six digits that you send another way, by telephone for instance."),
    )
    is_mail_wanted = forms.BooleanField(
        label=_("Send me an e-mail when something arrives"),
        required=False,
        initial=True,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )


class OpenForm(forms.Form):
    """What a sender types on the landing page."""

    pin = forms.CharField(label=_("PIN"), required=False, max_length=20)
