"""Real PostgreSQL, Redis and S3 on free loopback ports; what cannot be started fails the run by its package's name."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class ServerMissingError(SystemExit):
    """A server that the tests need cannot be started here."""


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Return when `is_ready` says so; fail the run otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_ready():
            return
        time.sleep(0.05)
    raise ServerMissingError(f"{what} did not start within {seconds} s.")


def is_listening(port: int) -> bool:
    """Return whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_program(name: str, package: str, folders: list[Path] | None = None) -> str:
    """Return the program's path, or fail the run naming the Debian or PyPI package that brings it."""
    for folder in folders or []:
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name)
    if not found:
        raise ServerMissingError(f"{name} is not installed: install the package {package} (make test does, as root).")
    return found


def as_unprivileged() -> dict[str, str]:
    """PostgreSQL refuses to run as root: use the user that its Debian package makes."""
    return {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}


def start_postgresql(run: Path) -> str:
    """Start a throw-away cluster and return its URL."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb = find_program("initdb", "postgresql", versions)
    server = find_program("postgres", "postgresql", versions)
    folder, port = run / "postgresql", free_port()
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    subprocess.run(
        [initdb, "-D", folder, "-U", "viewbox", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **as_unprivileged(),
    )  # fmt: skip
    process = subprocess.Popen(
        [server, "-D", folder, "-p", str(port), "-k", folder, "-h", "127.0.0.1",
         "-c", "fsync=off", "-c", "max_connections=200"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **as_unprivileged(),
    )  # fmt: skip
    atexit.register(stop, process)
    url = f"postgres://viewbox@127.0.0.1:{port}/postgres"
    wait_until(lambda: _postgresql_answers(url), "PostgreSQL")
    return url


def _postgresql_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True


def make_database() -> str:
    """Make an empty database of its own in the running cluster and return its URL."""
    import psycopg

    url, name = os.environ["DATABASE_URL"], f"installation_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{url.rpartition('/')[0]}/{name}"


def start_redis(run: Path) -> str:
    """Start a Redis of our own and return its URL."""
    program, port, folder = find_program("redis-server", "redis-server"), free_port(), run / "redis"
    folder.mkdir()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    atexit.register(stop, process)
    wait_until(lambda: is_listening(port), "Redis")
    return f"redis://127.0.0.1:{port}/0"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and wait for it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_all(run: Path) -> dict[str, str]:
    """Start the three servers and return the environment that points an installation at them."""
    from tests import s3_server

    s3 = s3_server.start(run / "s3")
    bucket = s3.make_bucket()
    return {
        "DATABASE_URL": start_postgresql(run),
        "TEST_BROKER_URL": start_redis(run),
        "PORTAL_S3_BUCKET": bucket,
        "PORTAL_S3_ENDPOINT_URL": s3.endpoint_url,
        "PORTAL_S3_ACCESS_KEY": s3.access_key,
        "PORTAL_S3_SECRET_KEY": s3.secret_key,
    }
