"""Many new rows in few statements, without what the ORM does for each value of each.

`bulk_create` compiles every value as an expression, which takes longer than the database needs for the row. Instances
arrive by the thousand, and their rows are plain values: here those go straight to the database's driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import connections, models, router

# What every driver takes as it is.
_PLAIN: Final = frozenset({str, int, bytes, type(None)})
ROWS_OF_A_STATEMENT: Final = 500


def insert_rows(rows: Sequence[models.Model]) -> None:
    """Insert new rows of one model, whose fields hold values and no expressions, and give each its primary key.

    Fields that change their value before they are saved (`auto_now`) keep what the row holds. Raises IntegrityError as
    `bulk_create` does; needs a transaction where all or none are wanted.
    """
    if not rows:
        return
    model = type(rows[0])
    meta = model._meta  # noqa: SLF001  # Django's documented Model._meta
    connection = connections[router.db_for_write(model)]
    fields = [field for field in meta.local_concrete_fields if not field.primary_key]
    columns = ", ".join(_quoted(connection, field.column) for field in fields)
    head = f"INSERT INTO {_quoted(connection, meta.db_table)} ({columns}) VALUES "  # noqa: S608  # names of the model
    one = f"({', '.join(['%s'] * len(fields))})"
    tail = f" RETURNING {_quoted(connection, meta.pk.column)}"
    most = (connection.features.max_query_params or ROWS_OF_A_STATEMENT * len(fields)) // len(fields)
    for first in range(0, len(rows), most):
        part = rows[first : first + most]
        values = [_value(row, field, connection) for row in part for field in fields]
        with connection.cursor() as cursor:
            cursor.execute(head + ", ".join([one] * len(part)) + tail, values)
            made = cursor.fetchall()
        for row, (pk,) in zip(part, made, strict=True):
            row.pk = pk
            row._state.adding = False  # noqa: SLF001  # Django's documented Model._state
            row._state.db = connection.alias  # noqa: SLF001


def _quoted(connection: Any, name: str | None) -> str:
    return str(connection.ops.quote_name(name))


def _value(row: models.Model, field: Any, connection: Any) -> Any:
    value = getattr(row, field.attname)
    if value is None and field.is_relation:
        # Assigned before it had a primary key.
        other = field.get_cached_value(row, default=None)
        if other is not None:
            value = other.pk
            setattr(row, field.attname, value)
    return value if type(value) in _PLAIN else field.get_db_prep_save(value, connection)
