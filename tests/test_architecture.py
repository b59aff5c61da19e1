"""The house keeps its shape: who may import whom, and calls that nobody makes (SUP-04)."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TOOLS = Path(sys.executable).parent
TOP_LEVEL = {"portal", "apps", "templates", "static", "locale", "tests"}
MADE_BY_TOOLS = {"node_modules", "var"}


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_who_may_import_whom() -> None:
    assert "0 broken" in run(str(TOOLS / "lint-imports"), "--no-cache")


def test_banned_calls_are_not_made_SUP_04() -> None:
    run(str(TOOLS / "ruff"), "check", "--no-cache", "apps", "portal")


def test_no_folder_joins_the_top_level() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders - MADE_BY_TOOLS == TOP_LEVEL


@pytest.mark.parametrize("name", ["core", "common", "utils.py", "helpers.py", "signals.py"])
def test_rooms_are_named_after_one_thing(name: str) -> None:
    assert not [path for top in ("apps", "portal") for path in (ROOT / top).rglob(name)]


def test_every_dependency_is_pinned_with_a_reason_and_hashes_SUP_01() -> None:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith(("#", "-r")):
            assert "==" in line, f"{line}: not pinned"
            assert "#" in line, f"{line}: no reason"
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        assert text.count("==") <= text.count("--hash=sha256:")


def test_migrations_are_complete() -> None:
    run(sys.executable, "manage.py", "makemigrations", "--check", "--dry-run")
