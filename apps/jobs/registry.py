"""Which function does which kind of job, and which run by the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apps.jobs.models import Job

Effects = Callable[[], None]
Handler = Callable[[Job], Effects | None]
HANDLERS: dict[str, Handler] = {}


@dataclass(frozen=True)
class PeriodicTask:
    """A function of no arguments and how often it runs."""

    function: Callable[[], object]
    every_seconds: float


PERIODIC: dict[str, PeriodicTask] = {}


def register(kind: str) -> Callable[[Handler], Handler]:
    """Name the decorated function as the handler of a kind of job.

    The handler works outside any transaction (SQLite has one writer) and returns the effects, a function that is run
    in one short transaction together with marking the job done; None when there are no effects.
    """

    def add(handler: Handler) -> Handler:
        HANDLERS[kind] = handler
        return handler

    return add


def periodic(name: str, every_seconds: float) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Let the scheduler run the decorated function about every so many seconds, on one worker at a time."""

    def add(function: Callable[[], object]) -> Callable[[], object]:
        PERIODIC[name] = PeriodicTask(function, every_seconds)
        return function

    return add
