"""`python -m tests.dicom.deidentify.dciodvfy IN OUT`: is every file of OUT as valid as its original in IN?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_UID = re.compile(r"<[0-9.]{1,64}>")


def errors_of(path: Path) -> Counter[str]:
    """The errors dciodvfy sees, without the UIDs it quotes. It reads no deflated file: there it sees none."""
    program = shutil.which("dciodvfy")
    assert program is not None, "dciodvfy is missing: install the package dicom3tools"
    if b"1.2.840.10008.1.2.1.99" in path.read_bytes()[:1000]:
        return Counter()
    ran = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return Counter(_UID.sub("<uid>", line) for line in ran.stderr.splitlines() if line.startswith("Error"))


def new_errors(pairs: list[tuple[Path, Path]]) -> dict[str, Counter[str]]:
    """Return what is wrong with files that was not wrong with their originals."""

    def judge(pair: tuple[Path, Path]) -> tuple[str, Counter[str]]:
        return pair[0].name, errors_of(pair[1]) - errors_of(pair[0])

    with ThreadPoolExecutor(2) as pool:
        return {name: found for name, found in pool.map(judge, pairs) if found}


def main() -> None:
    """Judge two folders."""
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        print(__doc__)
        return
    before, after = Path(sys.argv[1]), Path(sys.argv[2])
    pairs = [(before / path.relative_to(after), path) for path in sorted(after.rglob("*")) if path.is_file()]
    found = new_errors([pair for pair in pairs if pair[0].exists()])
    for name, counted in found.items():
        print(name, dict(counted))
    print(f"{len(pairs)} files, {len(found)} with new errors")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
