"""Queries whose SQL is made once: for what a viewer asks hundreds of times a second.

Django makes the SQL of a query anew each time, which costs more than running it when one row is looked up by its key.
A `PreparedQuery` is written as any queryset; the values that change stand in it as `Asked("name")`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet, Value
from django.db.models.query import get_related_populators

from apps.clinics.scoping import clinic_scope, required_clinic_id, scoped_edition

Row = TypeVar("Row", bound=Model)
# What the managers put into every query of rows that clinics own.
_CLINIC = "the scope's clinic"
_EDITION = "the scope's edition"


class Asked(Value):
    """Stands in a prepared query for a value that is given when it runs."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return a parameter that is this object itself: `PreparedQuery` puts the value in its place."""
        return "%s", [self]


class _AnyClinic:
    """The clinic of a scope in which a query is prepared for every clinic."""

    pk = Asked(_CLINIC)


@dataclass(frozen=True)
class _Plan:
    """What was worked out: the SQL, its parameters, and how rows become objects."""

    sql: str
    parameters: Sequence[Any]
    is_scoped: bool
    compiler: Any
    converters: Any
    model: type[Model]
    columns: slice
    attributes: list[str]
    populators: list[Any]


class PreparedQuery(Generic[Row]):
    """One row, or none, of a queryset with `select_related` and `only` as it likes.

    The scope holds as ever: a query for rows that clinics own runs inside the scope that is open when it runs, and
    raises ScopeError without one.
    """

    def __init__(self, build: Callable[[], QuerySet[Row]]) -> None:
        """Prepare what `build` returns, when it is first needed: once in each thread, which has its own connection."""
        self._build = build
        self._kept = threading.local()

    def first(self, **asked: Any) -> Row | None:
        """Run the query with these values and return its first row; KeyError for a value that is missing."""
        plan = self._plan()
        if plan.is_scoped:
            asked |= {_CLINIC: required_clinic_id(), _EDITION: scoped_edition()}
        parameters = [_adapted(asked[one.value]) if isinstance(one, Asked) else one for one in plan.parameters]
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, parameters)
            rows = cursor.fetchall()
        if not rows:
            return None
        if plan.converters:
            rows = list(plan.compiler.apply_converters(rows, plan.converters))
        row = rows[0]
        found: Any = plan.model.from_db(connection.alias, plan.attributes, row[plan.columns])
        for populator in plan.populators:
            populator.populate(row, found)
        return found  # type: ignore[no-any-return]

    def _plan(self) -> _Plan:
        plan: _Plan | None = getattr(self._kept, "plan", None)
        if plan is None:
            plan = self._kept.plan = self._prepared()
        return plan

    def _prepared(self) -> _Plan:
        with clinic_scope(_AnyClinic(), edition=Asked(_EDITION)):  # type: ignore[arg-type]
            rows = self._build()[:1]
        compiler = rows.query.get_compiler(using=connection.alias)
        sql, parameters = compiler.as_sql()
        info = compiler.klass_info
        start, end = info["select_fields"][0], info["select_fields"][-1] + 1
        return _Plan(
            sql=sql,
            parameters=parameters,
            is_scoped=any(isinstance(one, Asked) and one.value == _CLINIC for one in parameters),
            compiler=compiler,
            converters=compiler.get_converters([column[0] for column in compiler.select[: compiler.col_count]]),
            model=info["model"],
            columns=slice(start, end),
            attributes=[column[0].target.attname for column in compiler.select[start:end]],
            populators=get_related_populators(info, compiler.select, connection.alias),  # type: ignore[call-arg]
        )


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    database: Any = connection
    return database.Database.Binary(value) if isinstance(value, bytes) else value
