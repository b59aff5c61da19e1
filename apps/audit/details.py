"""Which facts an event may carry besides its references, and what shape each must have.

The trail is read by people who may not see the studies, and it is kept for years: free text has no place in it. The
shape follows from the name (DESIGN: units and kinds in the name), a few codes are named one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from apps.audit.errors import EventRefusedError

MAX_LIST_LENGTH: Final = 200

_CODE = re.compile(r"[a-z0-9][a-z0-9_.:+/-]{0,63}")
_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))?")

_CODES: Final = frozenset(
    {
        "capability",
        "code",
        "command",
        "direction",
        "factor",
        "filters",
        "format",
        "fields",
        "kind",
        "level",
        "limit",
        "locale",
        "media_type",
        "method",
        "outcome",
        "place",
        "plan",
        "previous_plan",
        "previous_role",
        "reason",
        "role",
        "scopes",
        "sort",
        "source",
        "transaction",
    }
)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _shape_of(key: str) -> Callable[[Any], bool] | None:
    if key in _CODES:
        return _matches(_CODE)
    if key == "page" or key.endswith(("_count", "_bytes", "_seconds", "_minutes", "_days", "_number", "_numbers")):
        return _is_integer
    if key.startswith(("is_", "has_", "may_")):
        return lambda value: isinstance(value, bool)
    if key.endswith(("_at", "_date")):
        return _matches(_INSTANT)
    if key.endswith(("_reference", "_references")):
        return _matches(_REFERENCE)
    return None


def check_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details as they are stored (tuples and sets become sorted lists).

    Raises EventRefusedError for a key that is not on the list and for a value of another shape; the message names the
    key only, since the value may be the very thing that must not be written down.
    """
    checked: dict[str, Any] = {}
    for key, value in sorted(details.items()):
        shape = _shape_of(key)
        if shape is None:
            raise EventRefusedError(f"The detail {key!r} is not on the list of what an event may carry.")
        many = isinstance(value, (list, tuple, set, frozenset))
        values = sorted(value) if isinstance(value, (set, frozenset)) else list(value) if many else [value]
        if len(values) > MAX_LIST_LENGTH or not all(shape(item) for item in values):
            raise EventRefusedError(f"The detail {key!r} has a value of the wrong shape.")
        checked[key] = values if many else value
    return checked
