"""What a person says about a patient."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.patients.services import Facts

SEXES: Final = [("", _("not stated")), ("F", _("female")), ("M", _("male")), ("O", _("other"))]
OLDEST: Final = datetime.date(1880, 1, 1)
_NAME: Final = {"class": "form-control", "autocomplete": "off"}


@dataclass(frozen=True)
class EnteredFacts:
    """A person as somebody typed them in."""

    dicom_patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: datetime.date | None
    patient_sex: str


class PersonForm(forms.Form):
    """A new patient."""

    family_name = forms.CharField(label=_("Family name"), max_length=150, widget=forms.TextInput(attrs=_NAME))
    given_name = forms.CharField(
        label=_("Given name"), max_length=150, required=False, widget=forms.TextInput(attrs=_NAME)
    )
    patient_birth_date = forms.DateField(
        label=_("Date of birth"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}, format="%Y-%m-%d"),
    )
    dicom_patient_id = forms.CharField(
        label=_("Patient ID"), max_length=64, required=False, widget=forms.TextInput(attrs=_NAME)
    )
    patient_sex = forms.ChoiceField(
        label=_("Sex"), choices=SEXES, required=False, widget=forms.Select(attrs={"class": "form-select"})
    )

    @classmethod
    def about(cls, facts: Facts) -> PersonForm:
        """Return the form filled in with what is known."""
        parts = [part.strip() for part in facts.patient_name.split("=")[0].split("^")]
        return cls(
            initial={
                "family_name": parts[0],
                "given_name": " ".join(part for part in parts[1:3] if part),
                "patient_birth_date": facts.patient_birth_date,
                "dicom_patient_id": facts.dicom_patient_id,
                "patient_sex": facts.patient_sex if facts.patient_sex in ("F", "M", "O") else "",
            }
        )

    def facts(self, *, issuer: str = "") -> EnteredFacts:
        """Return what was entered; the form is valid. `issuer`: who gave the number, where that is known."""
        entered = self.cleaned_data
        name = "^".join(part for part in (entered["family_name"].strip(), entered["given_name"].strip()) if part)
        return EnteredFacts(
            dicom_patient_id=entered["dicom_patient_id"].strip(),
            issuer_of_patient_id=issuer,
            patient_name=name,
            patient_birth_date=entered["patient_birth_date"],
            patient_sex=entered["patient_sex"],
        )

    def clean(self) -> dict[str, Any]:
        """Refuse what cannot stand in a name or number (PS3.5 6.2), and days on which nobody was born."""
        entered = super().clean() or {}
        for field in ("family_name", "given_name", "dicom_patient_id"):
            if set("^=\\") & set(str(entered.get(field, ""))):
                self.add_error(field, _("This must not have ^, = or a backslash in it."))
        born = entered.get("patient_birth_date")
        if isinstance(born, datetime.date) and not OLDEST <= born <= timezone.localdate():
            self.add_error("patient_birth_date", _("This day cannot be a date of birth."))
        return entered


class PatientSearchForm(forms.Form):
    """Looks for a patient; sent by POST, since whom somebody looks for has no place in an address."""

    words = forms.CharField(
        label=_("Name or patient ID"),
        required=False,
        max_length=200,
        widget=forms.SearchInput(attrs=_NAME | {"spellcheck": "false", "autocapitalize": "off"}),
    )
