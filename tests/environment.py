"""The environment of a test run, set before Django reads its settings (loaded by pytest's `-p tests.environment`).

`TEST_STACK=embedded` (the default) runs on SQLite and local storage, `TEST_STACK=servers` on real PostgreSQL, Redis and
S3, which this module starts once and stops when the run ends.
"""

import atexit
import base64
import os
import secrets
import shutil
import tempfile
from pathlib import Path

STACK = os.environ.setdefault("TEST_STACK", "embedded")
IS_CONTROLLER = "PYTEST_XDIST_WORKER" not in os.environ
# What a developer's shell or an installation's own .env says must not reach the tests.
SETTINGS = ("DATABASE_URL", "PORTAL_")


def set_up_run() -> None:
    """Choose a fresh data directory, make keys, start servers; done once, xdist's workers inherit it all."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]
    run = Path(tempfile.mkdtemp(prefix="viewbox-test-"))
    run.chmod(0o711)
    atexit.register(shutil.rmtree, run, ignore_errors=True)
    os.environ |= {
        "TEST_RUN_DIR": str(run),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PORTAL_ENV_FILE": os.devnull,
        "PORTAL_SECRET_KEY": secrets.token_urlsafe(48),
        "PORTAL_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PORTAL_BASE_URL": "http://testserver",
        "PORTAL_ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "PORTAL_BROKER_URL": "memory://",
        "PORTAL_EMAIL_URL": "memorymail://",
        "PORTAL_LOG_LEVEL": "WARNING",
        # Playwright keeps an event loop in the test's thread; Django's guard against that is for servers.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
    }
    if STACK == "servers":
        from tests import servers

        os.environ |= servers.start_all(run)
    elif STACK != "embedded":
        raise SystemExit(f"TEST_STACK is {STACK!r}: use 'embedded' or 'servers'.")


if IS_CONTROLLER:
    set_up_run()
data_dir = Path(os.environ["TEST_RUN_DIR"]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
data_dir.mkdir(mode=0o700, exist_ok=True)
os.environ["PORTAL_DATA_DIR"] = str(data_dir)
