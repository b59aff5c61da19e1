"""The table of what `make faults` found: one line for each kind of fault, the last run of each counts."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path


def add_result(file: Path | None, name: str, figures: str, is_good: bool) -> None:
    """Write down how one kind of fault went, in place of how it went before."""
    if file is None:
        return
    known = json.loads(file.read_text()) if file.exists() else {}
    at = datetime.now(UTC).isoformat(timespec="minutes")
    known[name] = {"figures": figures, "is_good": is_good, "at": at}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known, indent=1))


def table(file: Path) -> str:
    """Return the results as a table in Markdown."""
    known = json.loads(file.read_text()) if file.exists() else {}
    rows = [
        f"| {name} | {'holds' if one['is_good'] else '**FAILED**'} | {one['figures']} | {one['at']} |"
        for name, one in known.items()
    ]
    return "\n".join(["| fault | | figures | at |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
