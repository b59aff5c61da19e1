"""What a person fills in to share, and what a recipient fills in to open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.links.services import DEFAULT_LIFETIME, MAX_ATTEMPTS, MAX_LIFETIME, MAX_VIEW_LIMIT, Factor
from apps.sharing.models import ShareLink
from apps.studies.models import Study

LIFETIME_DAYS: Final = (1, 3, 7, 14, 30, 90)
ATTEMPTS: Final = (3, 5, 10, MAX_ATTEMPTS)
DEFAULT_ATTEMPTS: Final = 10


def _lifetime_choices() -> list[tuple[int, str]]:
    """Return the lifetimes in the reader's language; asked for with every form, as a counted text is made at once."""
    return [(days, ngettext("%(days)d day", "%(days)d days", days) % {"days": days}) for days in LIFETIME_DAYS]


def _check(**attributes: str) -> forms.CheckboxInput:
    return forms.CheckboxInput(attrs={"class": "form-check-input", **attributes})


def _text(**attributes: str) -> forms.TextInput:
    return forms.TextInput(attrs={"class": "form-control", **attributes})


class ShareForm(forms.Form):
    """What a link shows, to whom a word is said, and how long it holds; sensible without a single change."""

    studies = forms.MultipleChoiceField(
        label=_("More studies of this patient"), required=False, widget=forms.CheckboxSelectMultiple
    )
    recipient = forms.CharField(
        label=_("For whom"),
        max_length=120,
        required=False,
        widget=_text(autocomplete="off"),
        help_text=_("Only you see it: so that you know the link again."),
    )
    lifetime_days = forms.TypedChoiceField(
        label=_("Valid for"),
        coerce=int,
        choices=_lifetime_choices,
        initial=DEFAULT_LIFETIME.days,
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    factor = forms.ChoiceField(
        label=_("What the recipient has to know"),
        choices=[
            (Factor.PIN, _("A PIN of six digits, which you send another way")),
            (Factor.BIRTH_DATE, _("The patient's date of birth")),
            (Factor.MAIL_CODE, _("A one-time code, which we send by e-mail")),
            (Factor.NONE, _("Nothing: whoever has the link sees the images")),
        ],
        initial=Factor.PIN,
        widget=forms.RadioSelect,
    )
    may_download = forms.BooleanField(label=_("Allow downloading the studies"), required=False, widget=_check())
    note = forms.CharField(
        label=_("Note to the recipient"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        help_text=_("Shown after the link was opened, above the images."),
    )
    recipient_email = forms.EmailField(
        label=_("E-mail address of the recipient"),
        required=False,
        widget=forms.EmailInput(attrs={"class": "form-control", "autocomplete": "off"}),
        help_text=_("For a link or a code that we send. A PIN is never in a mail of ours."),
    )
    is_anonymised = forms.BooleanField(
        label=_("Anonymise"),
        required=False,
        widget=_check(),
        help_text=_("The recipient sees a copy without names, numbers and dates, in headers and in pixels."),
    )
    is_mailed = forms.BooleanField(label=_("Send the link to this address now"), required=False, widget=_check())
    may_see_priors = forms.BooleanField(
        label=_("Show earlier studies of this patient beside them"), required=False, widget=_check()
    )
    may_pass_on = forms.BooleanField(
        label=_("This is the patient's own link"),
        required=False,
        widget=_check(),
        help_text=_("The patient sees who opened it, and can pass on links of her own, which never outlive this one."),
    )
    asks_recipient = forms.BooleanField(label=_("Ask who opens it, and what for"), required=False, widget=_check())
    is_watermarked = forms.BooleanField(
        label=_("Write name and time over the images"),
        required=False,
        widget=_check(),
        help_text=_(
            "On the screen, and in pictures and films that are saved. DICOM files to download stay as they are."
        ),
    )
    notifies_opening = forms.BooleanField(
        label=_("Tell me by e-mail when it is opened"), required=False, widget=_check()
    )
    starts_on = forms.DateField(
        label=_("Opens on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        help_text=_("Empty: at once."),
    )
    max_views = forms.IntegerField(
        label=_("How often it may be opened"),
        required=False,
        min_value=1,
        max_value=MAX_VIEW_LIMIT,
        widget=forms.NumberInput(attrs={"class": "form-control", "inputmode": "numeric"}),
        help_text=_("Empty: any number of times."),
    )
    max_attempts = forms.TypedChoiceField(
        label=_("Wrong answers that freeze it"),
        coerce=int,
        required=False,
        choices=[(number, str(number)) for number in ATTEMPTS],
        initial=DEFAULT_ATTEMPTS,
        widget=forms.Select(attrs={"class": "form-select"}),
        help_text=_("You are told when that happens."),
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

    def clean(self) -> dict[str, Any]:
        """Refuse a code or a mail without an address, and a beginning in the past or too far away."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not cleaned.get("recipient_email") and "recipient_email" not in self.errors:
            if cleaned.get("factor") == Factor.MAIL_CODE:
                self.add_error("recipient_email", _("A one-time code needs the e-mail address it goes to."))
            elif cleaned.get("is_mailed"):
                self.add_error("recipient_email", _("To send the link by mail, write down the address it goes to."))
        starts_on: date | None = cleaned.get("starts_on")
        if starts_on and not timezone.localdate() <= starts_on <= timezone.localdate() + MAX_LIFETIME:
            self.add_error("starts_on", _("The link opens today or within the next 90 days."))
        return cleaned

    @property
    def opens_more(self) -> bool:
        """Whether something under "more options" was filled in or refused."""
        names = {field.name for field in self.more_fields()}
        return bool(names & (set(self.errors) | {name for name in self.changed_data if self.is_bound}))

    def more_fields(self) -> list[forms.BoundField]:
        """Return the fields that most links do without, in order."""
        first = {"studies", "recipient", "lifetime_days", "factor", "may_download", "is_anonymised"}
        return [field for field in self if field.name not in first]

    @property
    def chosen(self) -> list[Study]:
        """The further studies that were ticked."""
        return [self.more_studies[reference] for reference in self.cleaned_data.get("studies", ())]

    def wishes(self) -> dict[str, Any]:
        """Return what was wished, as `services.share` takes it."""
        taken = (
            "note",
            "recipient",
            "recipient_email",
            "is_mailed",
            "may_download",
            "may_see_priors",
            "may_pass_on",
            "asks_recipient",
            "is_watermarked",
            "is_anonymised",
            "notifies_opening",
            "max_views",
        )
        starts_on = self.cleaned_data["starts_on"]
        begins = starts_on and starts_on > timezone.localdate()
        return {name: self.cleaned_data[name] for name in taken} | {
            "lifetime": timedelta(days=self.cleaned_data["lifetime_days"]),
            "starts_at": timezone.make_aware(datetime.combine(starts_on, time.min)) if begins else None,
            "factor": Factor(self.cleaned_data["factor"]),
            "max_attempts": self.cleaned_data["max_attempts"] or DEFAULT_ATTEMPTS,
        }


class ExtendForm(forms.Form):
    """How long a link is to hold from now."""

    lifetime_days = forms.TypedChoiceField(
        label=_("Valid from now for"),
        coerce=int,
        choices=_lifetime_choices,
        initial=DEFAULT_LIFETIME.days,
        widget=forms.Select(attrs={"class": "form-select"}),
    )


class PassOnForm(forms.Form):
    """What a patient decides about a link of her own."""

    recipient = forms.CharField(label=_("For whom"), max_length=120, widget=_text(autocomplete="off"))
    lifetime_days = forms.TypedChoiceField(
        label=_("Valid for"), coerce=int, choices=(), widget=forms.Select(attrs={"class": "form-select"})
    )
    has_pin = forms.BooleanField(
        label=_("Protect it with a PIN"),
        required=False,
        initial=True,
        widget=_check(),
        help_text=_("Six digits that you tell them another way, by telephone for instance."),
    )
    may_download = forms.BooleanField(label=_("Allow downloading"), required=False, widget=_check())

    def __init__(self, *args: Any, parent: ShareLink, **kwargs: Any) -> None:
        """Offer what the link at hand allows."""
        super().__init__(*args, **kwargs)
        left = parent.link.expires_at - timezone.now()
        fitting = [choice for choice in _lifetime_choices() if choice[0] <= left.days]
        self.fields["lifetime_days"].choices = fitting or [(1, _("as long as your own link"))]  # type: ignore[attr-defined]
        if not parent.may_download:
            del self.fields["may_download"]


class AnswerForm(forms.Form):
    """What a recipient types on the landing page: PIN, date of birth or code, and who they are where that is asked."""

    pin = forms.CharField(required=False, max_length=20)
    recipient = forms.CharField(required=False, max_length=120)
    purpose = forms.CharField(required=False, max_length=200)


class FilterForm(forms.Form):
    """Which links the list shows; each value is a public id."""

    study = forms.RegexField(r"^[A-Za-z0-9_-]{1,22}$", required=False)
    patient = forms.RegexField(r"^[A-Za-z0-9_-]{1,22}$", required=False)
    maker = forms.RegexField(r"^[A-Za-z0-9_-]{1,22}$", required=False)


def _in_words(study: Study) -> str:
    day = date_format(study.study_date, "DATE_FORMAT") if study.study_date else str(_("no date"))
    return " · ".join(part for part in (day, study.modalities_in_study, study.study_description) if part)
