"""The search form of the worklist."""

from __future__ import annotations

import datetime
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.studies.queries import Order, StudyCriteria

# What practices meet daily (PS3.3 C.7.3.1.1.1), in words for the tooltip.
MODALITIES = [
    ("CT", _("Computed tomography")),
    ("MR", _("Magnetic resonance")),
    ("US", _("Ultrasound")),
    ("CR", _("Computed radiography")),
    ("DX", _("Digital radiography")),
    ("MG", _("Mammography")),
    ("XA", _("X-ray angiography")),
    ("NM", _("Nuclear medicine")),
    ("PT", _("Positron emission tomography")),
    ("OT", _("Other")),
]
MAX_PAGE = 10_000


class WorklistForm(forms.Form):
    """Sent by POST: what somebody looks for is about a patient and has no place in an address or a server's log."""

    words = forms.CharField(
        label=_("Search"),
        required=False,
        max_length=200,
        widget=forms.SearchInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )
    first_date = forms.DateField(
        label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    last_date = forms.DateField(
        label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    modality = forms.MultipleChoiceField(label=_("Modality"), required=False, choices=MODALITIES)
    order = forms.ChoiceField(required=False, choices=[(order.value, order.value) for order in Order])
    sort = forms.ChoiceField(required=False, choices=[(order.value, order.value) for order in Order])
    page = forms.IntegerField(required=False, min_value=1, max_value=MAX_PAGE)

    def criteria(self) -> StudyCriteria:
        """Return what to look for; fields that are not understood (half a date, while it is typed) ask for nothing."""
        found = self._understood()
        first: datetime.date | None = found.get("first_date")
        last: datetime.date | None = found.get("last_date")
        if first and last and last < first:
            first, last = last, first
        return StudyCriteria(
            words=found.get("words") or "",
            study_date=(first, last) if first or last else None,
            modalities_in_study=tuple(found.get("modality") or ()),
        )

    def chosen_order(self) -> Order:
        """Return the order: the column just chosen, else the one shown so far, else the newest first."""
        found = self._understood()
        return Order(found.get("sort") or found.get("order") or Order.NEWEST.value)

    def chosen_page(self) -> int:
        """Return the page, from 1; another order begins at the first page again."""
        found = self._understood()
        return 1 if found.get("sort") else found.get("page") or 1

    def used(self) -> list[str]:
        """Return which fields were filled in, for the audit trail; their values are nobody's business."""
        found = self._understood()
        return [name for name in ("words", "first_date", "last_date", "modality") if found.get(name)]

    def _understood(self) -> dict[str, Any]:
        self.is_valid()
        return self.cleaned_data if self.is_bound else {}
