"""Refuse to run on a database whose trail can be rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

from apps.audit import triggers


def check_triggers(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Return an error for each database on which triggers of the trail are missing or disarmed (AUD-03).

    Runs with `check --database default` and before `migrate`.
    """
    problems: list[CheckMessage] = []
    for alias in databases or ():
        names = triggers.missing(connections[alias])
        if names:
            problems.append(
                Error(
                    f"The audit trail in database {alias!r} can be changed: {', '.join(names)} missing or disabled.",
                    hint="Find out who removed them; manage.py migrate --skip-checks arms them again",
                    id="audit.E001",
                )
            )
    return problems
