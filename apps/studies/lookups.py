"""What the database is told of columns: wild cards (`*` any text, `?` one letter, PS3.4 C.2.2.2.4); order."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Func, Lookup
from django.db.models.sql.compiler import SQLCompiler


@CharField.register_lookup
class Wildcard(Lookup):
    """`field__wildcard="abc*"`: case-sensitive; a pattern that begins with letters is found through an index."""

    lookup_name = "wildcard"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[str | int, ...]]:
        """Compile to LIKE; used by PostgreSQL, where `_`, `%` and the backslash are escaped."""
        lhs, parameters = self.process_lhs(compiler, connection)
        return f"{lhs} LIKE %s", (*parameters, like_pattern(str(self.rhs)))

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Compile to GLOB, which minds the case and whose wild cards are the same but for `[`."""
        lhs, parameters = self.process_lhs(compiler, connection)
        return f"{lhs} GLOB %s", (*parameters, str(self.rhs).replace("[", "[[]"))


@CharField.register_lookup
class AnyCaseWildcard(Lookup):
    """`field__any_case_wildcard="abc*"`: without regard to case, for texts that people type; reads every row."""

    lookup_name = "any_case_wildcard"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[str | int, ...]]:
        """Compile to ILIKE (PostgreSQL)."""
        lhs, parameters = self.process_lhs(compiler, connection)
        return f"{lhs} ILIKE %s", (*parameters, like_pattern(str(self.rhs)))

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Compile to LIKE, which does not mind the case of ASCII letters on SQLite."""
        lhs, parameters = self.process_lhs(compiler, connection)
        return f"{lhs} LIKE %s ESCAPE '\\'", (*parameters, like_pattern(str(self.rhs)))


class InNoIndex(Func):
    """A column's value to sort by, when the rows are found in another way than by the index of that order.

    SQLite knows nothing of how many rows match: given the choice it reads a whole index that is in order rather than
    look up one row and sort it. It takes no column behind a plus sign from an index; PostgreSQL needs no telling.
    """

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Compile to the column with a sign that changes nothing."""
        sql, parameters = self.as_sql(compiler, connection, template="+%(expressions)s", **context)
        return sql, tuple(parameters)


def like_pattern(pattern: str) -> str:
    """Return a DICOM pattern in the language of LIKE, with the backslash as its escape."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def has_wildcard(pattern: str) -> bool:
    """Return whether matching needs more than equality."""
    return "*" in pattern or "?" in pattern
