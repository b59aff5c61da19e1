"""The filters of the audit page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.audit.words import GROUPS


class FilterForm(forms.Form):
    """All filters are optional and narrow the list together."""

    since = forms.DateField(label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    kind = forms.ChoiceField(label=_("What happened"), required=False)
    person = forms.CharField(
        label=_("Who"),
        required=False,
        max_length=254,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off", "placeholder": _("e-mail address")}),
    )
    study = forms.RegexField(r"^[A-Za-z0-9_-]+$", label=_("Study"), required=False, max_length=22)
    link = forms.RegexField(r"^[A-Za-z0-9_-]+$", label=_("Link"), required=False, max_length=22)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = self.fields["kind"]
        assert isinstance(kind, forms.ChoiceField)  # noqa: S101  # for the type checker
        kind.choices = [("", _("Everything")), *((key, group.label) for key, group in GROUPS.items())]

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins."""
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", _("The last day lies before the first."))
        return cleaned

    def used(self) -> list[str]:
        """Return the names of the filters that narrow the list; their values stay out of the trail."""
        return sorted(name for name, value in self.cleaned_data.items() if value)
