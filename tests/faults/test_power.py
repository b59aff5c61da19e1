"""The short form: three power cuts under a whole data directory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.faults.power import missing_privilege

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="the disk that is cut holds SQLite"),
    pytest.mark.skipif(bool(missing_privilege()), reason=f"the power cannot be cut without {missing_privilege()}"),
]


@pytest.mark.usefixtures("django_db_setup")
def test_what_was_acknowledged_survives_power_cuts_F4(tmp_path: Path) -> None:
    # A database with all migrations saves making one.
    ready = tmp_path / "ready.sqlite3"
    with sqlite3.connect(settings.DATABASES["default"]["NAME"]) as connection:
        connection.execute("VACUUM INTO ?", [str(ready)])
    command = [sys.executable, "-m", "tests.faults.power", "--rounds", "3", "--seed", "1", "--database", str(ready)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TEST_RUN"))}
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 power cuts" in done.stdout
