"""Events of several threads in one commit, for SQLite: there each commit waits for the disk, one after the other.

Whoever comes while another thread writes waits for it, and then writes for all who have come meanwhile. Nobody goes on
before the own event is committed. PostgreSQL does the same by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import Error, connection, transaction

from apps.audit.models import AuditEvent
from apps.clinics.services import insert_rows


@dataclass
class _Slip:
    """What one thread wants to have written, and how that ended."""

    events: Sequence[AuditEvent]
    is_done: bool = False
    error: BaseException | None = None


_waiting: list[_Slip] = []
_list_lock = threading.Lock()
_turn = threading.Lock()


def insert_events(events: Sequence[AuditEvent]) -> None:
    """Insert events, with the caller's transaction or committed when this returns; raises what the database raises."""
    if connection.in_atomic_block or (connection.vendor != "sqlite" and len(events) == 1):
        insert_rows(events)
    elif connection.vendor != "sqlite":
        with transaction.atomic():
            insert_rows(events)
    else:
        _insert_together(events)


def _insert_together(events: Sequence[AuditEvent]) -> None:
    slip = _Slip(events)
    with _list_lock:
        _waiting.append(slip)
    with _turn:
        if not slip.is_done:
            with _list_lock:
                slips = list(_waiting)
                _waiting.clear()
            _write(slips)
    if slip.error is not None:
        raise slip.error


def _write(slips: Sequence[_Slip]) -> None:
    try:
        if len(slips) == 1 and len(slips[0].events) == 1:
            insert_rows(slips[0].events)  # one statement, which commits by itself
        else:
            with transaction.atomic():
                insert_rows([event for slip in slips for event in slip.events])
    except Error as error:
        if len(slips) == 1:
            slips[0].error = error
        else:
            # One of them may be at fault: nobody else is to suffer for it.
            for slip in slips:
                _write([slip])
    except BaseException as error:
        for slip in slips:
            slip.error = error
        raise
    finally:
        for slip in slips:
            slip.is_done = True
