"""What an owner chooses, and what a reviewer decides."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from apps.deidentification.models import Preset
from apps.deidentification.reviewing import MAX_BOXES


class PolicyForm(forms.Form):
    """How a clinic anonymises."""

    link_preset = forms.ChoiceField(label=_("Anonymised links"), choices=Preset.choices)
    download_preset = forms.ChoiceField(label=_("Anonymised downloads"), choices=Preset.choices)
    ingest_preset = forms.ChoiceField(
        label=_("Files that arrive"),
        choices=[("", _("Store as they come")), *Preset.choices],
        required=False,
        help_text=_(
            "Anonymise everything before it is stored. The original is destroyed; nobody can bring it back. Images "
            "that a person has to look at wait before they are stored."
        ),
    )
    keeps_identities = forms.BooleanField(
        label=_("Keep a table of who is behind each pseudonym"),
        required=False,
        help_text=_("Encrypted, and readable by owners alone. Switching it off empties it."),
    )


class LookUpForm(forms.Form):
    """A pseudonym to look up."""

    pseudonym = forms.CharField(label=_("Patient ID in the anonymised images"), max_length=64)


class DecisionForm(forms.Form):
    """Boxes and a decision."""

    decision = forms.ChoiceField(choices=[("approve", "approve"), ("refuse", "refuse")])
    boxes = forms.CharField(required=False, max_length=40_000)

    def clean_boxes(self) -> list[list[int]]:
        """Return the boxes as numbers."""
        try:
            found: Any = json.loads(self.cleaned_data["boxes"] or "[]")
        except json.JSONDecodeError as error:
            raise ValidationError(_("These boxes cannot be read.")) from error
        is_list = isinstance(found, list) and len(found) <= MAX_BOXES
        if not is_list or not all(_is_box(box) for box in found):
            raise ValidationError(_("These boxes cannot be read."))
        return [[int(edge) for edge in box] for box in found]


def _is_box(box: object) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(edge, int) and not isinstance(edge, bool) and abs(edge) < 1 << 20 for edge in box)
    )
