"""Which function does which kind of job, and which run by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apps.jobs.models import Job

Effects = Callable[[], None]
Handler = Callable[[Job], Effects | None]
HANDLERS: dict[str, Handler] = {}
# Work of minutes: never on all workers at once.
LONG_KINDS: set[str] = set()


@dataclass(frozen=True)
class PeriodicTask:
    """A function of no arguments and how often it runs."""

    function: Callable[[], object]
    every_seconds: float


PERIODIC: dict[str, PeriodicTask] = {}


def register(kind: str, *, is_long: bool = False) -> Callable[[Handler], Handler]:
    """Name the decorated function as the handler of a kind of job.

    The handler works outside any transaction (SQLite has one writer) and returns the effects, a function that is run
    in one short transaction together with marking the job done; None when there are no effects. `is_long`: it may
    take minutes, and leaves one worker free for other work.
    """

    def add(handler: Handler) -> Handler:
        HANDLERS[kind] = handler
        if is_long:
            LONG_KINDS.add(kind)
        return handler

    return add


def periodic(name: str, every_seconds: float) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Let the scheduler run the decorated function about every so many seconds, on one worker at a time."""

    def add(function: Callable[[], object]) -> Callable[[], object]:
        PERIODIC[name] = PeriodicTask(function, every_seconds)
        return function

    return add
