"""The restore drill: an empty directory, one storage place, the master key; and a signed report of what was found.

The master key goes through its paper form on the way (split into shares, joined again), as it would after a loss.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.audit.services import Context, record
from apps.backup.continuous import folder
from apps.backup.errors import BackupError
from apps.backup.examining import Failure, Wanted
from apps.backup.models import Drill
from apps.clinics.scoping import every_clinic
from apps.exports.services import sign
from apps.keys.services import load_master_key, through_paper
from apps.storage.models import Blob
from apps.studies.models import Instance, Study

log = logging.getLogger(__name__)

SAMPLE_COUNT: Final = 50
SHARE_OF_ALL: Final = 100
NEWEST_COUNT: Final = 5
SETTLED: Final = timedelta(minutes=2)
"""What is older than this must be in the copy."""
LONGEST_SECONDS: Final = 4 * 60 * 60
# An address, a program's path, a language: nothing that would help a restore.
KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "AWS_CA_BUNDLE", "SSL_CERT_FILE")


def run_drill(place: str) -> Drill:
    """Restore from one place, look at a sample, and keep the signed report; returns the finished drill.

    Whatever goes wrong is a failed drill, not an exception.
    """
    drill = Drill.objects.create(place=place)
    work = folder() / f"drill-{drill.public_id}"
    try:
        work.mkdir(mode=0o700, parents=True)
        report = _examine(wanted_of(place, timezone.now()), work)
    except Exception as error:
        # A drill that breaks off proves nothing, whatever the reason is.
        log.exception("the drill broke off", extra={"place": place})
        code = error.code if isinstance(error, BackupError) else "drill-broken-off"
        report = {"failures": [asdict(Failure("drill", code, f"The drill broke off: {type(error).__name__}."))]}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _finish(drill, report)


def wanted_of(place: str, now: datetime) -> Wanted:
    """Return what a drill of now must find, as this database knows it."""
    settled = now - SETTLED
    with every_clinic():
        studies = Study.objects.filter(edition="", created_at__lt=settled)
        total = studies.count()
        newest = []
        for study in studies.order_by("-created_at")[:NEWEST_COUNT]:
            # Only what is copied can be wanted: an image of this minute may be on its way.
            instances = Instance.objects.filter(series__study=study)
            if not instances.filter(blob__copied_at=None, blob__state=Blob.State.STORED).exists():
                newest.append([study.public_id, instances.filter(created_at__lt=settled).count()])
    sample = max(SAMPLE_COUNT, total // SHARE_OF_ALL)
    return Wanted(place, sample, total, newest, settled.isoformat())


def child_environment(place: str, data_dir: Path, master_key: bytes) -> dict[str, str]:
    """Return the whole environment of a drill: one place, the key, a new data directory, and nothing else."""
    prefix = settings.REPLICAS[place]
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        "HOME": str(data_dir),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PORTAL_ENV_FILE": os.devnull,
        "PORTAL_DATA_DIR": str(data_dir),
        "PORTAL_BASE_URL": settings.BASE_URL,
        "PORTAL_ALLOWED_HOSTS": ",".join(settings.ALLOWED_HOSTS),
        "PORTAL_BROKER_URL": "memory://",
        "PORTAL_EMAIL_URL": "dummymail://",
        "PORTAL_LOG_LEVEL": "ERROR",
        "PORTAL_MASTER_KEY": base64.b64encode(master_key).decode(),
        "PORTAL_SECRET_KEY": base64.b64encode(os.urandom(48)).decode(),
        "PORTAL_REPLICAS": place.removeprefix("replica-"),
        **_place_variables(prefix, settings.STORAGES[place]["OPTIONS"]),
        **_database_variables(data_dir.parent / "s"),
    }


def _database_variables(sockets: Path) -> dict[str, str]:
    """Return where the drill's own server will listen; SQLite's file is in the data directory, without being told."""
    if connection.vendor == "sqlite":
        return {}
    values = connection.settings_dict
    return {"DATABASE_URL": f"postgres://{values['USER']}:@/{sockets}/{values['NAME']}"}


def _place_variables(prefix: str, options: Mapping[str, Any]) -> dict[str, str]:
    if "bucket_name" not in options:
        return {f"{prefix}_DIR": str(options["location"])}
    names = {
        "BUCKET": "bucket_name",
        "ENDPOINT_URL": "endpoint_url",
        "REGION": "region_name",
        "ACCESS_KEY": "access_key",
        "SECRET_KEY": "secret_key",
        "ADDRESSING_STYLE": "addressing_style",
    }
    return {f"{prefix}_S3_{name}": str(options[key]) for name, key in names.items() if options.get(key)}


def _examine(wanted: Wanted, work: Path) -> dict[str, Any]:
    environment = child_environment(wanted.place, work / "data", through_paper(load_master_key()))
    (work / "data").mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "drill", "--child", str(work)],
        cwd=settings.BASE_DIR,
        env=environment,
        input=json.dumps(asdict(wanted)),
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode:
        # Its log may name what it must not; the exit and the last line's class are enough.
        log.error("the drill's process ended with %s: %s", done.returncode, done.stderr.strip().splitlines()[-1:])
        raise BackupError("The drill's process ended early.", "drill")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def _finish(drill: Drill, report: dict[str, Any]) -> Drill:
    drill.finished_at = timezone.now()
    drill.state = Drill.State.FAILED if report["failures"] else Drill.State.PASSED
    drill.study_count = report.get("study_count", 0)
    drill.instance_count = report.get("instance_count", 0)
    signed = {
        "format": "viewbox-drill-1",
        "drill": drill.public_id,
        "place": drill.place,
        "state": drill.state,
        "started_at": drill.started_at.isoformat(),
        "finished_at": drill.finished_at.isoformat(),
        **report,
    }
    drill.content = json.dumps(signed, sort_keys=True)
    drill.public_key, drill.signature = sign(drill.content.encode())
    drill.save()
    record(
        "restore.drilled",
        context=Context.system("drill"),
        clinic_id=None,
        outcome="success" if drill.state == Drill.State.PASSED else "failure",
        details={
            "place": drill.place,
            "study_count": drill.study_count,
            "instance_count": drill.instance_count,
            "failure_count": len(report["failures"]),
        },
    )
    return drill
