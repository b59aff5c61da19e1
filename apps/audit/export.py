"""The trail as CSV, row by row, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

from apps.audit.models import AuditEvent
from apps.audit.words import VERBS

COLUMNS = (
    "time",
    "event",
    "verb",
    "outcome",
    "actor_kind",
    "actor",
    "actor_reference",
    "address",
    "object_kind",
    "object",
    "patient",
    "study",
    "details",
    "changes",
    "session",
    "user_agent",
    "request",
    "id",
)

# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection); the last four are full-width.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _Echo:
    """A file that hands back what is written: csv.writer then makes lines instead of a file."""

    def write(self, line: str) -> str:
        return line


def quote_formula(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula (WEB-07): an apostrophe in front, NUL taken out."""
    text = "" if value is None else str(value).replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS) else text


def spoken_verbs() -> dict[str, str]:
    """Return the words of all verbs in the current language: the stream outlives the request's language."""
    return {verb: str(words) for verb, words in VERBS.items()}


def csv_lines(events: Iterable[AuditEvent], words: Mapping[str, str]) -> Iterator[str]:
    """Yield the header and one line for each event; times are UTC (ISO 8601)."""
    writer = csv.writer(_Echo())
    # The mark tells spreadsheets that this is UTF-8.
    yield "\ufeff" + str(writer.writerow(COLUMNS))
    for event in events:
        yield str(writer.writerow([quote_formula(cell) for cell in _cells(event, words)]))


def _cells(event: AuditEvent, words: Mapping[str, str]) -> tuple[Any, ...]:
    return (
        event.timestamp.astimezone(UTC).isoformat(timespec="milliseconds"),
        words.get(event.verb, event.verb),
        event.verb,
        event.outcome,
        event.actor_kind,
        event.actor_email,
        event.actor_reference,
        event.remote_addr,
        event.object_kind,
        event.object_reference,
        event.patient_reference,
        event.study_reference,
        json.dumps(event.details, sort_keys=True) if event.details else "",
        json.dumps(event.changes, sort_keys=True) if event.changes else "",
        event.session_hash[:16],
        event.user_agent,
        event.request_id,
        event.public_id,
    )
