"""A bucket that hangs, trickles, breaks off or answers with errors: nobody waits where a copy is elsewhere (F10)."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from pytest_django import Settings

from apps.clinics.models import Clinic
from apps.storage import copies, replication, s3_place
from apps.storage.models import Copy
from apps.storage.services import iterate_blob, open_blob, write_blob
from tests.s3_server import S3Server
from tests.storage.test_replication import disk_at

CONTENT = secrets.token_bytes(700_000)
ERROR = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Stands before the S3 service and, told so, keeps from its clients what it answers."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.mode = "pass"
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

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
                while answer := server.recv(65536):
                    match self.mode:
                        case "hang":
                            self.over.wait(60)
                            return
                        case "errors":
                            client.sendall(ERROR)
                            return
                        case "broken off":
                            client.sendall(answer[: answer.index(b"\r\n\r\n") + 500])
                            return
                        case "broken off in the headers":
                            client.sendall(answer[: answer.index(b"\r\n") + 20])
                            return
                        case "broken off within the size":
                            at = answer.lower().find(b"content-range: bytes")
                            client.sendall(answer[: answer.index(b"/", at) + 3])
                            return
                        case "trickle":
                            for at in range(0, len(answer), 512):
                                client.sendall(answer[at : at + 512])
                                if self.over.wait(0.05):
                                    return
                        case _:
                            client.sendall(answer)
            except OSError:
                return
            finally:
                # Closing alone says nothing to the other side while the thread beside still waits in recv.
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                server.sendall(data)
        except OSError:
            return


@pytest.fixture
def proxy(s3_server: S3Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The first place is a bucket behind the proxy, the second one a disk."""
    one = Proxy(s3_server.endpoint_url)
    first = s3_server.storage(s3_server.make_bucket())
    first["OPTIONS"] |= {"endpoint_url": one.url}
    settings.STORAGES = settings.STORAGES | {"blobs": first, "replica-second": disk_at(tmp_path / "second")}
    settings.REPLICAS = {"replica-second": "PORTAL_REPLICA_SECOND"}
    short = Config(connect_timeout=1, read_timeout=0.3)
    monkeypatch.setattr(s3_place, "URGENT_CONFIG", s3_place.URGENT_CONFIG.merge(short))
    monkeypatch.setattr(s3_place, "URGENT_SECONDS", 0.2)
    copies.forget_trouble()
    yield one
    one.close()
    copies.forget_trouble()


@pytest.mark.parametrize(
    "mode",
    [
        "hang",
        "errors",
        "broken off",
        "broken off in the headers",
        "broken off within the size",
        "trickle",
    ],
)
def test_reads_go_on_from_the_copy_F10(in_clinic_a: Clinic, proxy: Proxy, mode: str) -> None:
    blob = write_blob(in_clinic_a, "file", [CONTENT])
    assert replication.copy_due() == 1
    proxy.mode = mode
    assert b"".join(iterate_blob(blob)) == CONTENT
    # Left alone for a while: the next reader asks the other place first.
    assert copies.places_to_read(blob)[0] == "replica-second"
    with open_blob(blob) as reader:
        assert reader.pread(300_000, 1000) == CONTENT[300_000:301_000]
    # A place that is slow says nothing of what it holds.
    assert set(Copy.objects.filter(blob=blob).values_list("state", flat=True)) == {"good"}


def test_a_place_that_fails_again_is_left_alone_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(copies.time, "monotonic", lambda: now[0])
    copies.forget_trouble()
    rests = []
    for _ in range(6):
        copies.note_trouble("blobs", copies.PlaceUnavailableError())
        begun = now[0]
        while copies.is_resting("blobs"):
            now[0] += 1
        rests.append(now[0] - begun)
    assert rests == [10, 20, 40, 80, 120, 120]
    now[0] += 1000
    copies.note_trouble("blobs", copies.PlaceUnavailableError())
    now[0] += 10
    assert not copies.is_resting("blobs")
    copies.forget_trouble()
