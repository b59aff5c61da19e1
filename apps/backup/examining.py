"""What a drill does in its empty directory: only a storage place and the master key, and everything is looked at.

Runs in a process of its own whose settings name a new data directory (`apps.backup.drilling`): the database that is
restored here is its only database, the place its only source of bytes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from apps.accounts.roles import Scope
from apps.accounts.services import create_api_token
from apps.audit.services import Context
from apps.backup.engines import Chosen, Engine, engine_below
from apps.backup.errors import BackupError
from apps.backup.looking import Looker
from apps.backup.restoring import fetch
from apps.backup.shelf import Shelf, Stored
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys.errors import KeyUnavailableError
from apps.keys.services import check_master_key
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.studies.models import Study

MOST_FAILURES: Final = 50


@dataclass(frozen=True)
class Wanted:
    """What a drill must find: the place, how many studies to look at, and what the running portal knows to be there."""

    place: str
    sample_count: int
    study_count: int
    """How many studies the portal has; as many as ``sample_count`` of them must be looked at."""
    newest: list[list[Any]]
    """(public id, number of instances) of studies that were complete before ``not_before``."""
    not_before: str
    """The database must reach at least this moment (ISO 8601)."""


@dataclass(frozen=True)
class Failure:
    """One thing that is not as it should be: what it is about, a code, and a sentence."""

    item: str
    code: str
    message: str


@dataclass
class Report:
    """What a drill found; JSON by `dataclasses.asdict`."""

    until: str = ""
    moment: str = ""
    """The random moment the database was restored to, besides the newest one."""
    file_count: int = 0
    study_count: int = 0
    instance_count: int = 0
    frame_count: int = 0
    document_count: int = 0
    read_bytes: int = 0
    pixels_sha256: str = ""
    """Of the hashes of every frame that was decoded."""
    clinics: dict[str, int] = field(default_factory=dict)
    """How many studies of each clinic were looked at, by its public id."""
    failures: list[Failure] = field(default_factory=list)

    def fail(self, item: str, code: str, message: str) -> None:
        """Note a failure; after many, one says no more than the next."""
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(Failure(item, code, message))


def examine(wanted: Wanted, work: Path) -> dict[str, Any]:
    """Restore and look at everything that is wanted; return the report. Never raises for what a backup may be."""
    report = Report()
    try:
        _examine(wanted, work, report)
    except (BackupError, StorageError, KeyUnavailableError) as error:
        report.fail(getattr(error, "item", "") or wanted.place, error.code, str(error))
    return asdict(report)


def _examine(wanted: Wanted, work: Path, report: Report) -> None:
    shelf = Shelf(wanted.place)
    stored, unreadable = shelf.contents()
    report.file_count = len(stored)
    for each in unreadable:
        report.fail(each.name, each.error.code, str(each.error))
    if unreadable and not stored:
        return
    engine = engine_below(work)
    try:
        _check_age(_restore_newest(engine, shelf, stored, work / "newest"), wanted, report)
        _restore_a_moment(engine, shelf, stored, work, report)
        if _settle(report):
            _look(wanted, report)
    finally:
        connections.close_all()
        engine.close()


def _restore_newest(engine: Engine, shelf: Shelf, stored: list[Stored], folder: Path) -> Chosen:
    chosen = engine.choose(stored)
    fetch(shelf, chosen, folder)
    engine.build(folder, chosen, None)
    return chosen


def _check_age(chosen: Chosen, wanted: Wanted, report: Report) -> None:
    report.until = chosen.until.isoformat()
    if chosen.until < datetime.fromisoformat(wanted.not_before):
        report.fail(
            chosen.files[-1].facts.path,
            "backup-stale",
            f"The newest copy of the database is of {chosen.until:%Y-%m-%d %H:%M:%S} UTC.",
        )


def _restore_a_moment(engine: Engine, shelf: Shelf, stored: list[Stored], work: Path, report: Report) -> None:
    """Restore the database as of any moment that the copies reach, too."""
    first, last = engine.span(stored)
    span = max(1, int((last - first) / timedelta(milliseconds=1)))
    moment = (first + timedelta(milliseconds=secrets.randbelow(span) + 1)).astimezone(UTC)
    report.moment = moment.isoformat()
    try:
        chosen = engine.choose(stored, moment)
        fetch(shelf, chosen, work / "moment")
        engine.probe(work / "moment", chosen, moment, work)
    except BackupError as error:
        report.fail(error.item or "database", error.code, f"As of {moment:%Y-%m-%d %H:%M:%S} UTC: {error}")


def _settle(report: Report) -> bool:
    """Bring the restored database to this program's tables and check what no page checks; whether to go on."""
    connections.close_all()
    bring_up_to_date()
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in sorted({row[0] for row in cursor.execute("PRAGMA foreign_key_check").fetchall()}):
                report.fail(f"table {table}", "database-inconsistent", f"Rows of {table} point to rows that are gone.")
    try:
        check_master_key()
    except KeyUnavailableError as error:
        report.fail("master key", error.code, str(error))
        return False
    return True


def bring_up_to_date() -> None:
    """Migrate the restored database to this program's tables, if it is older."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", verbosity=0, interactive=False)


def _look(wanted: Wanted, report: Report) -> None:
    with every_clinic():
        # From the place that is proven, not from the first one, which is empty here.
        Blob.objects.update(place=wanted.place)
        there = dict(Study.objects.filter(edition="").values_list("public_id", "number_of_study_related_instances"))
    for public_id, instance_count in wanted.newest:
        if there.get(public_id, -1) < instance_count:
            report.fail(
                f"study {public_id}", "study-missing", f"The study {public_id} is not in the copy, or not whole."
            )
    chosen = _choose(wanted, there)
    digest = hashlib.sha256()
    for clinic in Clinic.objects.order_by("pk"):
        context = Context.system("drill")
        with clinic_scope(clinic):
            of_clinic = list(Study.objects.filter(public_id__in=chosen).order_by("pk"))
            if not of_clinic:
                continue
            _row, secret = create_api_token(clinic, [Scope.READ], context=context, name="drill", days=1)
        looker = Looker(clinic, secret, report.fail, digest)
        for study in of_clinic:
            looker.look_at(study)
        report.clinics[clinic.public_id] = len(of_clinic)
        report.study_count += len(of_clinic)
        report.instance_count += looker.instance_count
        report.frame_count += looker.frame_count
        report.document_count += looker.document_count
        report.read_bytes += looker.read_bytes
    report.pixels_sha256 = digest.hexdigest()
    least = min(wanted.sample_count, wanted.study_count)
    if report.study_count < least:
        report.fail(
            "sample", "drill-thin", f"Only {report.study_count} studies could be looked at, of at least {least}."
        )


def _choose(wanted: Wanted, there: dict[str, int]) -> set[str]:
    """Return public ids of the newest studies, of all of one random date, and of others by chance."""
    chosen = {public_id for public_id, _ in wanted.newest if public_id in there}
    for candidate in _candidates(list(there)):
        if len(chosen) >= max(wanted.sample_count, len(there) // 100):
            break
        chosen.add(candidate)
    return chosen


def _candidates(public_ids: list[str]) -> Iterator[str]:
    random = secrets.SystemRandom()
    with every_clinic():
        dates = list(Study.objects.filter(edition="").order_by().values_list("study_date", flat=True).distinct())
        if dates:
            of_date = Study.objects.filter(edition="", study_date=random.choice(dates)).order_by("pk")
            yield from list(of_date.values_list("public_id", flat=True)[:1000])
    random.shuffle(public_ids)
    yield from public_ids
