"""The clinic scope: no query without a chosen clinic, no row written for another one.

django-scopes supplies the context; this closes what it leaves open (exists, explain, in_bulk, contains and the bulk
methods run unscoped, and a row for a foreign clinic can be created inside a scope).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.db import IntegrityError, models, transaction
from django_scopes import get_scope, scope, scopes_disabled
from django_scopes.exceptions import ScopeError

from apps.clinics.inserting import ROWS_OF_A_STATEMENT, insert_rows

if TYPE_CHECKING:
    from apps.clinics.models import Clinic

Row = TypeVar("Row", bound=models.Model, covariant=True)  # noqa: PLC0105


@contextmanager
def clinic_scope(clinic: Clinic, *, edition: str = "") -> Iterator[None]:
    """Open the scope of one clinic: rows of others do not exist inside it.

    `edition`: of the clinic's studies. "" are its own; a de-identified copy is an edition by itself, named by its
    public id. Inside the one the studies and patients of the others do not exist (`apps.clinics.models.InEdition`).
    """
    with scope(clinic=clinic, edition=edition):
        yield


def every_clinic() -> AbstractContextManager[None]:
    """Lift the scope on purpose, for the few platform jobs that work across clinics (seals, sweeps, health)."""
    return cast("AbstractContextManager[None]", scopes_disabled())


def scoped_clinic_id() -> int | None:
    """Return the id of the clinic whose scope is open, None when scopes are lifted; raises ScopeError without any."""
    state: dict[str, Any] = get_scope()
    if not state.get("_enabled", True):
        return None
    clinic = state.get("clinic")
    if clinic is None:
        raise ScopeError("No clinic was chosen: open apps.clinics.scoping.clinic_scope(clinic) first.")
    return cast("int", clinic.pk)


def required_clinic_id() -> int:
    """Return the id of the clinic whose scope is open; raises ScopeError without any, also where scopes are lifted."""
    clinic_id = scoped_clinic_id()
    if clinic_id is None:
        raise ScopeError("No clinic was chosen: this works inside the scope of one clinic only.")
    return clinic_id


def scoped_edition() -> str | None:
    """Return the edition whose scope is open, None when scopes are lifted; outside any scope the clinic's own, ""."""
    state: dict[str, Any] = get_scope()
    if not state.get("_enabled", True):
        return None
    return cast("str", state.get("edition") or "")


def current_edition() -> str:
    """Return the edition to which a new row belongs."""
    return scoped_edition() or ""


def require_scope_of(clinic_id: int | None) -> None:
    """Raise ScopeError unless rows of this clinic may be written here."""
    chosen = scoped_clinic_id()
    if chosen is not None and clinic_id != chosen:
        raise ScopeError("A row of another clinic cannot be written in this clinic's scope.")


class ClinicQuerySet(models.QuerySet[Row]):
    """A queryset whose writing methods check the clinic of every row."""

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Row]:
        """Create rows of the scope's own clinic only (ScopeError)."""
        rows = list(objs)
        for row in rows:
            require_scope_of(row.clinic_id)
        return super().bulk_create(rows, *args, **kwargs)

    def bulk_update(self, objs: Any, *args: Any, **kwargs: Any) -> int:
        """Update rows of the scope's own clinic only (ScopeError)."""
        rows = tuple(objs)
        for row in rows:
            require_scope_of(row.clinic_id)
        return super().bulk_update(rows, *args, **kwargs)

    def update(self, **kwargs: Any) -> int:
        """Update, refusing to hand rows over to another clinic."""
        if "clinic" in kwargs or "clinic_id" in kwargs:
            raise ScopeError("A row never changes its clinic.")
        return super().update(**kwargs)


@lru_cache(maxsize=2048)
def _rows_of(
    model: type[models.Model], using: str | None, clinic_id: int | None, edition: str | None
) -> ClinicQuerySet[Any]:
    """Return a queryset that is only ever copied: to build its filters takes several times as long."""
    given = {"clinic_id": clinic_id, "edition": edition}
    chosen = {name: value for name, value in given.items() if value is not None}
    rows: ClinicQuerySet[Any] = ClinicQuerySet(model, using=using)
    return rows.filter(**chosen) if chosen else rows


class ClinicManager(models.Manager[Row]):
    """The only manager of clinic-owned rows: every query starts inside the open scope or raises ScopeError."""

    # Migrations must not serialise it: historical models have no scope.
    use_in_migrations = False

    def get_queryset(self) -> ClinicQuerySet[Row]:
        """Return the scope's rows; raises ScopeError when no clinic was chosen."""
        return _rows_of(self.model, self._db, scoped_clinic_id(), None).all()

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert new rows of the scope's own clinic only (ScopeError); see `inserting.insert_rows`."""
        for row in rows:
            require_scope_of(cast("Any", row).clinic_id)
        insert_rows(rows)

    def insert_missing(self, rows: Sequence[Row]) -> bool:
        """Insert the rows that are not there yet; return whether that was all of them, and each has its primary key.

        Where it was not, somebody else brought one meanwhile: the caller looks for all. Needs a transaction.
        """
        if not rows:
            return True
        try:
            with transaction.atomic():
                self.insert(rows)
        except IntegrityError:
            self.bulk_create(rows, ignore_conflicts=True, batch_size=ROWS_OF_A_STATEMENT)
            return False
        return True


class EditionManager(ClinicManager[Row]):
    """The manager of studies and what they consist of: every query stays inside the open edition."""

    def get_queryset(self) -> ClinicQuerySet[Row]:
        """Return the rows of the scope's clinic and edition; raises ScopeError when no clinic was chosen."""
        return _rows_of(self.model, self._db, scoped_clinic_id(), scoped_edition()).all()
