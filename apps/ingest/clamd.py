"""A client of clamd, ClamAV's scanner: a stream in, the name of what was found out (clamd(8), INSTREAM and VERSION).

Own code because the packages that there are (clamd, clamav-client, clamdpy) are under the LGPL, want whole files, and
wait for ever at a scanner that has stopped in the middle: here one deadline covers the whole exchange.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from apps.ingest.errors import ScanLimitError, ScannerAwayError

MAX_ANSWER_BYTES: Final = 4096
_LENGTH: Final = struct.Struct(">I")
# "ClamAV 1.4.6/27800/Fri Nov 21 09:58:00 2026"; without the last two where only signatures of one's own are loaded.
_VERSION: Final = re.compile(r"(?P<program>[^/]+)(?:/(?P<number>\d+)/(?P<date>.+))?", re.ASCII)
_FOUND: Final = re.compile(r"stream: (?P<signature>.+) FOUND", re.ASCII)
# What clamd calls a file of which it has looked at a part only (AlertExceedsMax).
_LIMITS: Final = "Heuristics.Limits.Exceeded"


@dataclass(frozen=True)
class Version:
    """What the scanner says of itself; `signed_at`: of which day its signatures are, None for those of one's own."""

    program: str
    signed_at: datetime | None


def version(url: str, seconds: float) -> Version:
    """Ask which program and which signatures answer at `url`: `unix:///path` or `tcp://host:port`.

    Raises ScannerAwayError when nothing answers within `seconds`, or something else does.
    """
    match = _VERSION.fullmatch(_exchange(url, b"zVERSION\0", (), seconds))
    if match is None:
        raise ScannerAwayError
    date = match["date"]
    try:
        # As ctime(3) writes it, in the scanner's own time zone; hours do not matter where days are counted.
        signed_at = datetime.strptime(date, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC) if date else None
    except ValueError as error:
        raise ScannerAwayError from error
    return Version(match["program"].strip(), signed_at)


def scan(url: str, chunks: Iterable[bytes], seconds: float) -> str:
    """Hand a stream to the scanner; return the name of the signature that it matches, "" for none.

    Raises ScannerAwayError (down, silent, failing) and ScanLimitError (more than the scanner takes): neither is clean.
    """
    answer = _exchange(url, b"zINSTREAM\0", chunks, seconds)
    if answer == "stream: OK":
        return ""
    if "size limit exceeded" in answer:
        raise ScanLimitError
    match = _FOUND.fullmatch(answer)
    if match is None:
        raise ScannerAwayError
    if match["signature"].startswith(_LIMITS):
        raise ScanLimitError
    return match["signature"]


def _exchange(url: str, command: bytes, chunks: Iterable[bytes], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    try:
        with _connect(url, seconds) as line:
            try:
                line.sendall(command)
                for chunk in chunks:
                    if chunk:
                        _wait_until(line, deadline)
                        line.sendall(_LENGTH.pack(len(chunk)))
                        line.sendall(chunk)
                if command == b"zINSTREAM\0":
                    _wait_until(line, deadline)
                    line.sendall(_LENGTH.pack(0))
            except (BrokenPipeError, ConnectionResetError):
                # It hangs up when it has had enough, but says why first.
                pass
            return _answer(line, deadline)
    except OSError as error:
        raise ScannerAwayError from error


def _connect(url: str, seconds: float) -> socket.socket:
    place = urlsplit(url)
    if place.scheme == "unix":
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(seconds)
        try:
            line.connect(place.path)
        except OSError:
            line.close()
            raise
        return line
    return socket.create_connection((place.hostname or "", place.port or 3310), seconds)


def _wait_until(line: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    line.settimeout(left)


def _answer(line: socket.socket, deadline: float) -> str:
    answer = bytearray()
    while not answer.endswith(b"\0") and len(answer) < MAX_ANSWER_BYTES:
        _wait_until(line, deadline)
        piece = line.recv(MAX_ANSWER_BYTES)
        if not piece:
            break
        answer += piece
    return answer.rstrip(b"\0").decode("ascii", "replace").strip()
