"""The triggers that make the trail append-only.

They bind the application, not the owner of the database: whoever may drop a trigger can change rows, and the seals are
what shows it (apps.audit.seal). On PostgreSQL run the application as a role with INSERT and SELECT only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

# For each table the ways in which a row can be the same row: INSERT OR REPLACE on SQLite removes the old one without
# firing its DELETE trigger, so that every unique key needs a look before the insert.
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "audit_auditevent": ("id = NEW.id", "public_id = NEW.public_id"),
    "audit_seal": ("id = NEW.id", "chain = NEW.chain AND number = NEW.number"),
    "audit_sealmember": ("event_id = NEW.event_id", "seal_id = NEW.seal_id AND position = NEW.position"),
}

_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '42501'; END $$
"""


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers that are missing and re-arm those that are disabled; safe to repeat.

    SQLite forgets a table's triggers whenever a migration rebuilds it, so this runs after every migrate.
    """
    existing = _existing_tables(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in existing:
                for name, timing in _sqlite_triggers(table).items():
                    cursor.execute(
                        f"CREATE TRIGGER IF NOT EXISTS {name} {timing} "
                        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                    )
        elif connection.vendor == "postgresql":
            cursor.execute(_FUNCTION)
            for table in existing:
                for name, timing in _postgresql_triggers(table).items():
                    cursor.execute(
                        f"CREATE OR REPLACE TRIGGER {name} {timing} ON {table} {_EACH[name[-2:]]} "
                        "EXECUTE FUNCTION audit_append_only()"
                    )
                    # ALWAYS: also for a session that pretends to be a replica.
                    cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers; only for tests that empty the whole database afterwards."""
    with connection.cursor() as cursor:
        for table in _existing_tables(connection):
            if connection.vendor == "sqlite":
                for name in _sqlite_triggers(table):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            elif connection.vendor == "postgresql":
                for name in _postgresql_triggers(table):
                    cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")


@contextmanager
def removed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Take the triggers away for the length of the block; for tests that tamper with the trail or empty it."""
    # PostgreSQL alters no table that has deferred checks pending.
    connection.check_constraints()
    remove(connection)
    try:
        yield
    finally:
        connection.check_constraints()
        install(connection)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of triggers that ought to be there and armed but are not; tables yet to be made do not count."""
    wanted: list[str] = []
    for table in _existing_tables(connection):
        if connection.vendor == "sqlite":
            wanted += _sqlite_triggers(table)
        elif connection.vendor == "postgresql":
            wanted += _postgresql_triggers(table)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        elif connection.vendor == "postgresql":
            cursor.execute(
                "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
                "WHERE tgenabled = 'A' AND pg_table_is_visible(pg_class.oid)"
            )
        else:
            return [f"no triggers are known for {connection.vendor}"]
        found = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in found]


_EACH: Final = {"ro": "FOR EACH ROW", "nt": "FOR EACH STATEMENT"}


def _sqlite_triggers(table: str) -> dict[str, str]:
    same_row = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {condition})"  # noqa: S608  # constants of this module
        for condition in TABLES[table]
    )
    return {
        f"{table}_no_update": f"BEFORE UPDATE ON {table}",
        f"{table}_no_delete": f"BEFORE DELETE ON {table}",
        f"{table}_no_replace": f"BEFORE INSERT ON {table} WHEN {same_row}",
    }


def _postgresql_triggers(table: str) -> dict[str, str]:
    return {f"{table}_ro": "BEFORE UPDATE OR DELETE", f"{table}_nt": "BEFORE TRUNCATE"}


def _existing_tables(connection: BaseDatabaseWrapper) -> list[str]:
    with connection.cursor() as cursor:
        present = set(connection.introspection.table_names(cursor))
    return [table for table in TABLES if table in present]
