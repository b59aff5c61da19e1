"""The URLs of a door."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern

from apps.accounts.services import page
from apps.ingest import sending, tus
from apps.ingest.doors import OWN_ARGUMENTS, Door, View


def patterns(door: Door) -> list[URLPattern]:
    """Return the URL patterns of a door; their names are its own with `-begin`, `-have`, `-close` and so on behind it.

    Every view is called as `view(request, entrance, **ids)` behind the door's guard.
    """
    routes: list[tuple[str, str, View]] = [
        ("begin/", "begin", sending.begin),
        ("have/", "have", sending.have),
        ("batches/<str:batch_id>/close/", "close", sending.close),
        ("batches/<str:batch_id>/results/", "results", sending.results),
        ("tus/", "tus", tus.transfers),
        ("tus/<str:transfer_id>/", "tus-file", tus.transfer),
    ]
    return [
        page(door.prefix + route, _through(door, view), door.rule, name=f"{door.name}-{name}")
        for route, name, view in routes
    ]


def _through(door: Door, view: View) -> View:
    @door.guard
    @functools.wraps(view)
    def entered(request: HttpRequest, /, **kwargs: Any) -> HttpResponseBase:
        ids = {name: kwargs.pop(name) for name in OWN_ARGUMENTS if name in kwargs}
        return view(request, door.entrance(request, kwargs), **ids)

    return entered
