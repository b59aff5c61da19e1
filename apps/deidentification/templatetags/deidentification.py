"""Words for codes, in templates."""

from __future__ import annotations

from django import template

from apps.deidentification import wording

register = template.Library()


@register.filter
def reason_words(code: str) -> str:
    """Return why a person has to look, as a sentence."""
    return wording.reason_words(code)
