"""A real clamd with signatures of our own: nothing is fetched, and its age is what a test wants it to be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

from tests.servers import find_program, stop, wait_until

# The test file of EICAR, in two parts so that no scanner takes this file for it.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + rb"ANTIVIRUS-TEST-FILE!$H+H*"
# A body found by its hash alone: only a scanner that gets it as a file of its own can know it.
BY_HASH = b"harmful only as a whole: " + bytes(range(200))
STREAM_BYTES = 4 << 20

CONFIGURATION = """
DatabaseDirectory {folder}/signatures
LocalSocket {folder}/clamd.socket
TemporaryDirectory {folder}
Foreground yes
AlertExceedsMax yes
StreamMaxLength {size}
MaxFileSize {size}
MaxScanSize 16M
SelfCheck 86400
"""


class Clamd:
    """The scanner of a test; `url` is what the settings want."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/clamd.socket"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "signatures").mkdir()
        self._write("test.ndb", b"Test.Eicar:0:*:" + EICAR.hex().encode() + b"\n")
        self._write("test.hdb", f"{hashlib.md5(BY_HASH).hexdigest()}:{len(BY_HASH)}:Test.ByHash\n".encode())
        (folder / "clamd.conf").write_text(CONFIGURATION.format(folder=folder, size=STREAM_BYTES))
        if os.geteuid() == 0:
            folder.chmod(0o755)

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / "signatures" / name).write_bytes(content)

    def start(self, *, signed_days_ago: float | None = None) -> None:
        """Start it and wait until it answers; `signed_days_ago`: with a database that bears this date."""
        (self.folder / "signatures" / "daily.cud").unlink(missing_ok=True)
        if signed_days_ago is not None:
            self._write("daily.cud", dated_database(int(time.time() - signed_days_ago * 86400)))
        (self.folder / "clamd.socket").unlink(missing_ok=True)
        program = find_program("clamd", "clamav-daemon", [Path("/usr/sbin")])
        self._process = subprocess.Popen(
            [program, "-c", self.folder / "clamd.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "clamd")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
            line.settimeout(1)
            line.connect(f"{self.folder}/clamd.socket")
            line.sendall(b"zPING\0")
            return line.recv(10) == b"PONG\0"
        return False

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hang: connections are taken, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            stop(self._process)
            self._process = None


def dated_database(signed_at: int) -> bytes:
    """A signature database of ClamAV's form without a signature (.cud) that bears this date (seconds since 1970)."""
    content = b"Test.Daily:0:*:" + b"not to be found anywhere".hex().encode() + b"\n"
    head = f"ClamAV-VDB:01 Jan 2026 00-00 +0000:27000:1:90:{'0' * 32}:x:tests:{signed_at}"
    listed = f"{head}\ndaily.ndb:{len(content)}:{hashlib.sha256(content).hexdigest()}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in (("COPYING", b"none"), ("daily.info", listed), ("daily.ndb", content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return head.encode().ljust(512) + packed.getvalue()
