"""Which finished files lie below a folder, asked twice a second: only folders that changed are read again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SETTLED_NS: Final = 2_000_000_000
"""A folder that changed this recently may change again within the same tick of its clock."""
UNFINISHED: Final = (".tmp", ".part", ".copy", ".lock")
GROWING: Final = ".partial"
"""PostgreSQL's segment that is being received: written in place, and wanted as far as it goes."""

Found = tuple[Path, int, int]
"""Path, size in bytes, time of the last change in nanoseconds."""


@dataclass(frozen=True)
class _Folder:
    modified_ns: int
    files: tuple[Found, ...]
    folders: tuple[Path, ...]
    is_settled: bool


class FolderWatch:
    """The files below one folder; names that begin with a dot or end like something unfinished are passed over."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[Path, _Folder] = {}

    def files(self) -> list[Found]:
        """Return all files as they are now."""
        found: list[Found] = []
        seen: dict[Path, _Folder] = {}
        waiting = [self._root]
        while waiting:
            path = waiting.pop()
            try:
                folder = self._read(path)
            except FileNotFoundError:
                continue
            seen[path] = folder
            found += folder.files
            waiting += folder.folders
        self._seen = seen
        return found

    def forget(self) -> None:
        """Read every folder again next time."""
        self._seen = {}

    def _read(self, path: Path) -> _Folder:
        modified_ns = path.stat().st_mtime_ns
        known = self._seen.get(path)
        if known and known.is_settled and known.modified_ns == modified_ns:
            return known
        files: list[Found] = []
        folders: list[Path] = []
        is_settled = time.time_ns() - modified_ns > SETTLED_NS
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(UNFINISHED) or entry.is_symlink():
                    continue
                if entry.is_dir():
                    folders.append(Path(entry.path))
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                files.append((Path(entry.path), status.st_size, status.st_mtime_ns))
                is_settled = is_settled and not entry.name.endswith(GROWING)
        return _Folder(modified_ns, tuple(files), tuple(folders), is_settled)
