"""What every template knows about the person and the clinic."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Return `clinic`, `membership` and `can`, a mapping of the capabilities (by name) that the person has here."""
    membership = getattr(request, "membership", None)
    capabilities = membership.capabilities if membership is not None else frozenset()
    return {
        "clinic": getattr(request, "clinic", None),
        "membership": membership,
        "can": {capability.name: True for capability in capabilities},
    }
