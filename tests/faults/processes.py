"""Finds the processes of one installation by their place below its supervisor, and kills them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# What may die at any moment; the supervisor starts it again.
TARGETS = ("worker", "worker child", "scheduler", "web worker", "web", "parser")


def command_of(pid: int) -> str:
    """The command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            children.append(int(folder.name))
    return sorted(children)


def family_of(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(member for child in children_of(pid) for member in family_of(child))]


def owned_by(data_dir: Path) -> list[int]:
    """All living processes whose environment names this data directory, whoever is their parent now."""
    mark = f"PORTAL_DATA_DIR={data_dir}".encode()
    owned = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                owned.append(int(folder.name))
        except OSError:
            continue
    return sorted(owned)


def find(supervisor: int, target: str) -> list[int]:
    """The processes of a kind (TARGETS) that are alive now."""
    programs = {pid: command_of(pid) for pid in children_of(supervisor)}
    match target:
        case "worker" | "worker child":
            masters = [pid for pid, command in programs.items() if " worker " in command]
        case "parser":
            pids = family_of(supervisor)
            return [pid for pid in pids if "apps.dicom.limited" in command_of(pid)]
        case "scheduler":
            masters = [pid for pid, command in programs.items() if " beat " in command]
        case _:
            masters = [pid for pid, command in programs.items() if "gunicorn" in command]
    if target in ("worker child", "web worker"):
        return [child for master in masters for child in children_of(master)]
    return masters


def kill(pid: int) -> bool:
    """kill -9; whether the process was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
