"""PostgreSQL copied as it is written, and proven: base copy, log and its last pieces make the cluster again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from apps.backup import postgres
from apps.backup.drilling import run_drill
from apps.backup.engines import PostgresEngine
from apps.backup.everything import restore_cluster
from apps.backup.models import Drill
from apps.backup.postgres import Cluster, Receiver, part_of
from apps.backup.shelf import Shelf
from apps.backup.shipping import Shipper
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.keys.services import backup_key
from apps.storage.services import copy_due
from tests import servers
from tests.backup.test_drill import PLACE, place
from tests.studies.files import index, part10

__all__ = ["place"]

pytestmark = pytest.mark.skipif(os.environ["TEST_STACK"] != "servers", reason="needs PostgreSQL")


class Copying:
    """What `manage.py back_up` does, a step at a time."""

    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver(folder / "received", folder / "stream")
        self.shipper = Shipper(folder / "stream", backup_key(), [PLACE])
        self.process = self.receiver.start()

    def catch_up(self) -> None:
        """Ship everything that is committed by now."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_flush_lsn()")
            [until] = cursor.fetchone()

        def has_come() -> bool:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT flush_lsn >= %s FROM pg_stat_replication WHERE application_name = 'pg_receivewal'", [until]
                )
                row = cursor.fetchone()
            return bool(row and row[0])

        servers.wait_until(has_come, "pg_receivewal")
        self.receiver.collect()
        self.shipper.ship()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(%s)", [postgres.SLOT])


@pytest.fixture
def copying(transactional_db: None, place: Path, tmp_path: Path) -> Iterator[Copying]:
    copying = Copying(tmp_path)
    yield copying
    copying.end()


def test_the_cluster_comes_back_to_the_last_commit_and_a_drill_proves_it_BAK_01_BAK_05(
    copying: Copying, clinic_a: Clinic, place: Path, tmp_path: Path, settings: Settings
) -> None:
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct1"), part10("ct2", InstanceNumber=2))
    copying.receiver.take_base()
    copying.catch_up()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_switch_wal()")
    with clinic_scope(clinic_a):
        index(clinic_a, part10("ct3", study="second", series="other"))
    copy_due()
    copying.catch_up()
    stored, unreadable = Shelf(PLACE).contents()
    assert not unreadable
    # Nothing plain went there: neither the log nor the base copy shows what the database holds.
    plain = "Müller".encode()
    assert not [path for path in place.rglob("*") if path.is_file() and plain in path.read_bytes()]

    drill = run_drill(PLACE)
    assert json.loads(drill.content)["failures"] == []
    assert drill.state == Drill.State.PASSED
    assert (drill.study_count, drill.instance_count) == (2, 3)

    # The folder of the test is pytest's own: the server's user gets one beside it.
    target = Path(os.environ["TEST_RUN_DIR"]) / "restored" / "data"
    settings.DATA_DIR = tmp_path
    # As of the last moment that the copies reach: no commit is known to have come then or later.
    _, last_moment = PostgresEngine(target).span(stored)
    restore_cluster(target, at=last_moment, place="nas")
    cluster = Cluster(target, target.parent / "s")
    reach = {"user": str(connection.settings_dict["USER"]), "dbname": str(connection.settings_dict["NAME"])}
    try:
        cluster.start(reach)
        with psycopg.connect(host=str(target.parent / "s"), **reach) as restored:
            assert restored.execute("SELECT count(*) FROM studies_instance").fetchone() == (3,)
    finally:
        cluster.stop()
        shutil.rmtree(target.parent)

    # A log file that is lost is noticed, and named.
    [base] = [part for each in stored if (part := part_of(each.facts.path, 0)) and part.start]
    [lost] = [each.name for each in stored if each.facts.path.endswith(f"/wal/{base.start}.gz")]
    Shelf(PLACE).delete([lost])
    failed = run_drill(PLACE)
    assert failed.state == Drill.State.FAILED
    assert f"{base.start} is missing" in json.loads(failed.content)["failures"][0]["message"]
