"""What a person fills in to share, and what a recipient fills in to open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.links.services import DEFAULT_LIFETIME, MAX_VIEW_LIMIT
from apps.studies.models import Study

LIFETIME_DAYS: Final = (1, 3, 7, 14, 30, 90)


def _lifetime_choices() -> list[tuple[int, str]]:
    """Return the lifetimes in the reader's language; asked for with every form, as a counted text is made at once."""
    return [(days, ngettext("%(days)d day", "%(days)d days", days) % {"days": days}) for days in LIFETIME_DAYS]


class ShareForm(forms.Form):
    """What a link shows, to whom a word is said, and how long it holds."""

    studies = forms.MultipleChoiceField(
        label=_("More studies of this patient"), required=False, widget=forms.CheckboxSelectMultiple
    )
    note = forms.CharField(
        label=_("Note to the recipient"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        help_text=_("Shown after the link was opened, above the images."),
    )
    lifetime_days = forms.TypedChoiceField(
        label=_("Valid for"),
        coerce=int,
        choices=_lifetime_choices,
        initial=DEFAULT_LIFETIME.days,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    max_views = forms.IntegerField(
        label=_("How often it may be opened"),
        required=False,
        min_value=1,
        max_value=MAX_VIEW_LIMIT,
        widget=forms.NumberInput(attrs={"class": "form-control", "inputmode": "numeric"}),
        help_text=_("Empty: any number of times."),
    )
    has_pin = forms.BooleanField(
        label=_("Protect with a PIN"),
        required=False,
        initial=True,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
        help_text=_("Six digits that you send another way, by telephone for instance."),
    )
    may_download = forms.BooleanField(
        label=_("Allow downloading the studies"),
        required=False,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    def __init__(self, *args: Any, more_studies: Sequence[Study] = (), **kwargs: Any) -> None:
        """Offer these further studies of the patient."""
        super().__init__(*args, **kwargs)
        self.more_studies = {study.public_id: study for study in more_studies}
        if self.more_studies:
            self.fields["studies"].choices = [  # type: ignore[attr-defined]
                (study.public_id, _in_words(study)) for study in more_studies
            ]
        else:
            del self.fields["studies"]

    @property
    def chosen(self) -> list[Study]:
        """The further studies that were ticked."""
        return [self.more_studies[reference] for reference in self.cleaned_data.get("studies", ())]

    @property
    def lifetime(self) -> timedelta:
        """How long the link holds."""
        return timedelta(days=self.cleaned_data["lifetime_days"])


class PinForm(forms.Form):
    """What a recipient types on the landing page."""

    pin = forms.CharField(
        label=_("PIN"),
        required=False,
        max_length=20,
        widget=forms.TextInput(
            attrs={"class": "form-control form-control-lg", "inputmode": "numeric", "autocomplete": "one-time-code"}
        ),
    )


def _in_words(study: Study) -> str:
    day = date_format(study.study_date, "DATE_FORMAT") if study.study_date else str(_("no date"))
    return " · ".join(part for part in (day, study.modalities_in_study, study.study_description) if part)
