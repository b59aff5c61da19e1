"""A whole Viewbox of its own: web server, worker and scheduler as `make run` starts them, over TLS."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from django.conf import settings

from tests import servers
from tests.s3_server import S3Server

ROOT = Path(settings.BASE_DIR)
PYTHON = Path(sys.executable)


class Installation:
    """Runs in a data directory of its own; on the servers' stack with a database, a bucket and a broker of its own."""

    def __init__(self, run: Path) -> None:
        self.data_dir = run / "data"
        self.port = servers.free_port()
        self.base_url = f"https://127.0.0.1:{self.port}"
        self.environment = self._environment()
        self.process: subprocess.Popen[bytes] | None = None

    def _environment(self) -> dict[str, str]:
        # A bare environment: what an installation needs, it must find by itself.
        environment = {
            "PATH": f"{PYTHON.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.data_dir),
            "LANG": "C.UTF-8",
            "PORTAL_DATA_DIR": str(self.data_dir),
            "PORTAL_STATIC_ROOT": str(ROOT / "var" / "static"),
            "PORTAL_ENV_FILE": os.devnull,
            "PORT": str(self.port),
            "HTTPS": "1",
            "PORTAL_BIND": "127.0.0.1",
            "VENV": str(PYTHON.parent.parent),
            "PORTAL_WORKERS": "2",
            "PORTAL_JOB_LEASE_SECONDS": "2",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            # Every answer is listened to (tests.flows.tap).
            "GUNICORN_CMD_ARGS": "--worker-class=tests.flows.tap.TappedWorker",
        }
        if os.environ["TEST_STACK"] == "servers":
            environment |= {
                "DATABASE_URL": servers.make_database(),
                "PORTAL_BROKER_URL": os.environ["TEST_BROKER_URL"],
                **{name: value for name, value in os.environ.items() if name.startswith("PORTAL_S3_")},
                "PORTAL_S3_BUCKET": S3Server(
                    os.environ["PORTAL_S3_ENDPOINT_URL"],
                    os.environ["PORTAL_S3_ACCESS_KEY"],
                    os.environ["PORTAL_S3_SECRET_KEY"],
                ).make_bucket(),
            }
        return environment

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed on standard output."""
        done = subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {arguments[0]}: {done.stderr[-3000:]}"
        return done.stdout

    def start(self) -> None:
        """Prepare and start everything; return when /readyz says that database, storage, broker and worker answer."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.manage("prepare")
        self.process = subprocess.Popen(
            [PYTHON.parent / "supervisord", "-c", "portal/supervisord.conf"], cwd=ROOT, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            servers.wait_until(lambda: self.status("/readyz") == 200, "Viewbox", seconds=180)
        except SystemExit:
            self.stop()
            raise AssertionError(self.logs()[-4000:]) from None

    def status(self, path: str) -> int:
        """Return the status of a GET, 0 when nobody answers."""
        try:
            trust = ssl._create_unverified_context()
            with urllib.request.urlopen(self.base_url + path, context=trust, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def logs(self) -> str:
        """Return all that the processes logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.data_dir / "log").glob("*.log")))

    def places_of_bytes(self) -> list[Path]:
        """Return the folders in which this installation and its broker keep bytes."""
        places = [self.data_dir]
        if os.environ["TEST_STACK"] == "servers":
            places += [Path(os.environ["TEST_RUN_DIR"]) / name for name in ("redis", "s3")]
        return places

    def stop(self) -> None:
        """End all processes."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
