"""Django's SQLite, with a queue for those who want to write.

SQLite has one writer at a time and no queue: who comes second sleeps, asks again, sleeps longer (up to a tenth of a
second, in which nobody writes), and after its time-out is told that the database is locked, however short each
transaction is. Here the threads of a process wait for one another, woken when the one before has committed, and
processes wait in line; see `line`.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

from portal.sqlite import line

_turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
# A child has none of its parent's threads, and so nobody who would give a turn back.
os.register_at_fork(after_in_child=_turns.clear)


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes a turn for each transaction, which is IMMEDIATE: it holds the right to write from its beginning.

    Django's type stubs do not know the methods that are extended here.
    """

    _turn: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        database = str(self.settings_dict["NAME"])
        turn = _turns[database]
        options: dict[str, Any] = self.settings_dict["OPTIONS"]
        seconds = float(options.get("timeout", 5))
        if not turn.acquire(timeout=seconds):
            raise OperationalError("database is locked")
        self._turn = turn
        try:
            if not line.stand(database, seconds):
                raise OperationalError("database is locked")
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._give_back()
            raise

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        # A commit that failed is followed by a rollback.
        self._give_back()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._give_back()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._give_back()

    def _give_back(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            line.leave(str(self.settings_dict["NAME"]))
            turn.release()
