"""A bucket that answers badly: nobody waits for it, and nobody gets a wrong byte (F10).

`python -m tests.faults.bucket [--reads 200] [--report FILE]`: of blobs that lie in a bucket of a real S3 service and on
a disk frames are read by eight readers at once, while a proxy before the service keeps back, delays, cuts or refuses
what it answers. The bucket is the first place, as if it were asked first by all.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import secrets
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import tests.environment as environment  # chooses the stack before Django is set up

ERROR = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ERROR_SHARE = 0.3
FORGET = 10
"""One read of so many asks the bucket first again, as a process does that has not met it yet."""
MODES = (
    "pass",
    "some errors",
    "errors",
    "late",
    "trickle",
    "broken off",
    "broken off in the headers",
    "broken off within the size",
    "hang",
)
BLOB_BYTES = 2_000_000
FRAME_BYTES = 512 * 1024
READERS = 8


class Proxy:
    """Stands before the S3 service and, told so, keeps from its clients what it answers."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.mode = "pass"
        self.choice = random.Random(1)
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.over.set()
        self.listener.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            try:
                while (answer := server.recv(65536)) and self._goes_on(client, answer):
                    pass
            except OSError:
                return
            finally:
                # Closing alone says nothing to the other side while the thread beside still waits in recv.
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _goes_on(self, client: socket.socket, answer: bytes) -> bool:
        """Pass on what the service said, or what is left of it; return whether the connection lives on."""
        mode = self.mode
        if mode == "some errors":
            mode = "errors" if self.choice.random() < ERROR_SHARE else "pass"
        match mode:
            case "hang":
                self.over.wait(60)
            case "errors":
                client.sendall(ERROR)
            case "broken off":
                client.sendall(answer[: answer.find(b"\r\n\r\n") + 500])
            case "broken off in the headers":
                client.sendall(answer[: answer.find(b"\r\n") + 20])
            case "broken off within the size":
                at = answer.lower().find(b"content-range: bytes")
                client.sendall(answer[: answer.find(b"/", at) + 3])
            case "trickle":
                for at in range(0, len(answer), 2560):
                    client.sendall(answer[at : at + 2560])
                    if self.over.wait(0.05):
                        return False
                return True
            case "late":
                if self.over.wait(5):
                    return False
                client.sendall(answer)
                return True
            case _:
                client.sendall(answer)
                return True
        return False

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                server.sendall(data)
        except OSError:
            return


def main() -> None:
    """Run as a program: exits 1 when a read failed, was wrong, or kept its reader waiting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=200)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test import override_settings

    from apps.accounts.services import found_clinic
    from apps.audit.services import Context
    from apps.clinics.scoping import clinic_scope
    from apps.storage import copies
    from apps.storage.errors import StorageError
    from apps.storage.models import Copy
    from apps.storage.places import PRIMARY
    from apps.storage.services import copy_due, open_blob, write_blob
    from tests.faults.results import add_result
    from tests.s3_server import start

    call_command("migrate", verbosity=0)
    clinic = found_clinic("bucket", "Bucket", context=Context.system("tests"))
    disk = Path(environment.data_dir) / "second"
    wrong: Counter[str] = Counter()
    late: dict[str, float] = {}
    server = start(Path(environment.data_dir) / "s3")
    with Proxy(server.endpoint_url) as proxy:
        first = server.storage(server.make_bucket())
        first["OPTIONS"] |= {"endpoint_url": proxy.url}
        second = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(disk)}}
        storages = settings.STORAGES | {PRIMARY: first, "replica-second": second}
        replicas = {"replica-second": "PORTAL_REPLICA_SECOND"}
        with override_settings(STORAGES=storages, REPLICAS=replicas, REPLICA_LOCK_DAYS={}):
            with clinic_scope(clinic):
                contents = [secrets.token_bytes(BLOB_BYTES) for _ in range(8)]
                blobs = [write_blob(clinic, "file", [content]) for content in contents]
            copy_due()

            def read(number: int) -> float:
                choice = random.Random(number)
                if number % FORGET == 0:
                    copies.forget_trouble()
                which, offset = choice.randrange(len(blobs)), choice.randrange(BLOB_BYTES - FRAME_BYTES)
                begun = time.perf_counter()
                try:
                    with clinic_scope(clinic), open_blob(blobs[which]) as reader:
                        served = hashlib.sha256(reader.pread(offset, FRAME_BYTES)).digest()
                    if served != hashlib.sha256(contents[which][offset : offset + FRAME_BYTES]).digest():
                        wrong[f"{proxy.mode}: wrong bytes"] += 1
                except StorageError as error:
                    wrong[f"{proxy.mode}: {error.code}"] += 1
                finally:
                    connection.close()
                return time.perf_counter() - begun

            for mode in MODES:
                proxy.mode = mode
                copies.forget_trouble()
                with ThreadPoolExecutor(READERS) as readers:
                    times = list(readers.map(read, range(options.reads)))
                late[mode] = statistics.quantiles(times, n=20)[-1]
                print(
                    f"{mode}: median {statistics.median(times):.3f} s, 95th percentile {late[mode]:.3f} s, "
                    f"slowest {max(times):.3f} s"
                )
                with clinic_scope(clinic):
                    wrong[f"{mode}: called damaged"] += Copy.objects.exclude(state=Copy.State.GOOD).count()
    figures = ", ".join(f"{mode} {seconds:.2f} s" for mode, seconds in late.items())
    figures = f"95th percentile of {options.reads} reads: {figures}; {wrong.total()} wrong, failed or called damaged"
    print(figures, dict(+wrong) or "")
    is_good = not +wrong and max(late.values()) <= 3
    add_result(options.report, "bucket that answers badly", figures, is_good)
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
