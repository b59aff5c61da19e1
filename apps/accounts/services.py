"""The door of the people room: everything that other apps may ask of it."""

from __future__ import annotations

from apps.accounts.routing import page, rule_of

__all__ = ["page", "rule_of"]
