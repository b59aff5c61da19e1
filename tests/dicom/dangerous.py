"""Operations that no sound parser has: what a limited child is there for."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import socket
import threading
from pathlib import Path

from apps.dicom.limited import operations


def echo(file, arguments):
    data = file.read()
    if data == b"crash":
        ctypes.string_at(0)
    if data == b"hang":
        while True:
            pass
    if data == b"sleep":
        never = threading.Lock()
        never.acquire()
        never.acquire()
    if data == b"allocate":
        return len([bytes(1 << 20) for _ in range(1 << 14)]), iter(())
    if data == b"recurse":
        return echo_again(), iter(())
    return None, iter([data])


def echo_again():
    return echo_again()


def asking_for_ever(file, arguments):
    while True:
        file.seek(70_000)
        file.read(1)
        file.seek(300_000)
        file.read(1)


def parse(file, arguments):
    """As ever, but for files that say what they do to a parser."""
    whole = file.read()
    for cry, deed in ((b"CRASH^NOW", b"crash"), (b"HANG^NOW", b"hang")):
        if cry in whole:
            echo(io.BytesIO(deed), {})
    return operations.parse(file, arguments)


def escape(file, arguments):
    """What the system answers to each way out."""
    ways = {
        "open a file": lambda: Path("/etc/hostname").read_text(),
        "list a folder": lambda: os.listdir("/"),
        "make a file": lambda: os.open("/dev/shm/escaped", os.O_CREAT | os.O_WRONLY),
        "open a connection": lambda: socket.create_connection(("127.0.0.1", 22), timeout=1),
        "make a socket": socket.socket,
        "start a process": os.fork,
        "run a program": lambda: os.execv("/bin/true", ["/bin/true"]),
        "signal its parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
        "lift its limits": lambda: __import__("resource").setrlimit(7, (4096, 4096)),
        "read another's memory": lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    }
    succeeded = []
    for name, way in ways.items():
        try:
            way()
        except (OSError, ValueError):
            continue
        succeeded.append(name)
    return [succeeded, sorted(os.environ)], iter(())


OPERATIONS = {function.__name__: function for function in (echo, asking_for_ever, escape, parse)}


def warm_up():
    operations.warm_up()
