"""URL patterns that carry their rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from apps.accounts.models import ApiToken, Membership, User
from apps.accounts.roles import Rule
from apps.clinics.models import Clinic

View = Callable[..., HttpResponseBase]


def page(route: str, view: View, rule: Rule, *, name: str, kwargs: Mapping[str, Any] | None = None) -> URLPattern:
    """Return a `path()` whose callback carries `.rule`.

    The view is wrapped, so that one view may stand under several routes with different rules. What decorators left on
    the view (`csrf_exempt`, for one) is kept.
    """

    @functools.wraps(view)
    def declared(request: HttpRequest, *args: Any, **view_kwargs: Any) -> HttpResponseBase:
        return view(request, *args, **view_kwargs)

    declared.rule = rule  # type: ignore[attr-defined]
    return path(route, declared, dict(kwargs or {}), name=name)


def rule_of(callback: Callable[..., Any]) -> Rule | None:
    """Return the rule that a URL pattern's callback declares, None when it declares none."""
    rule = getattr(callback, "rule", None)
    return rule if isinstance(rule, Rule) else None


class ClinicRequest(HttpRequest):
    """A request as views of a clinic see it: what the access-rule middleware added."""

    request_id: str
    clinic: Clinic
    membership: Membership | None
    api_token: ApiToken | None
    user: User
