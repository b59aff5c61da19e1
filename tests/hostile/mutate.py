"""Damage a hundred thousand real files and see that nothing breaks; goes on where an earlier run ended.

`python -m tests.hostile.mutate --count 100000 --state FILE [--seconds N] [--files FOLDER] [--seed N] [--store N] ...`

The state holds how far it got, what came of the files and what must not have happened; `--show N` writes the damaged
file of a number to standard output. Everything else happens in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import environment

if TYPE_CHECKING:
    from tests.hostile.trials import Result

GROUP_FILES = 40
MAX_FILE_BYTES = 400_000


def main() -> int:
    """Run; the exit status says whether anything was found, in this run or an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="how many files altogether")
    parser.add_argument("--state", type=Path, required=True, help="where to note how far it is")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long, to go on later")
    parser.add_argument("--files", type=Path, default=Path(__file__).parents[3] / "shared" / "dicom")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--store", type=int, default=1, metavar="N", help="store every Nth group (0: none), only read the others"
    )
    parser.add_argument("--look", type=int, default=8, metavar="N", help="look at every Nth group that is stored")
    parser.add_argument("--show", type=int, help="write one damaged file to standard output")
    options = parser.parse_args()

    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    import django

    django.setup()
    from tests.hostile import mutations

    files = sorted(path for path in options.files.rglob("*") if path.is_file())
    sources = [
        mutations.source(str(path.relative_to(options.files)), path.read_bytes())
        for path in files
        if path.stat().st_size < MAX_FILE_BYTES and path.suffix.lower() not in (".csv", ".md", ".txt")
    ]
    if options.show is not None:
        sys.stdout.buffer.write(mutations.mutant(sources, options.seed, options.show)[1])
        return 0
    return _run(options, sources)


def _run(options: argparse.Namespace, sources: list) -> int:
    from tests.hostile import trials

    store = _prepared(sources, options.seed) if options.store else None
    state: dict[str, Any] = {"next": 0, "outcomes": {}, "answers": {}, "failures": []}
    if options.state.exists():
        state = json.loads(options.state.read_text())
    total = trials.Result()
    total.outcomes.update(state["outcomes"])
    total.answers.update(state["answers"])
    total.failures += state["failures"]
    blobs = environment.data_dir / "blobs"
    started, first = time.monotonic(), state["next"]
    number = first
    while number < options.count and time.monotonic() - started < options.seconds:
        numbers = range(number, min(number + GROUP_FILES, options.count))
        group = numbers.start // GROUP_FILES
        if store is None or group % options.store:
            total.add(trials.read_group(sources, options.seed, numbers))
        else:
            total.add(store(numbers, looks=group // options.store % options.look == 0))
        shutil.rmtree(blobs, ignore_errors=True)
        number = numbers.stop
        state = {
            "next": number,
            "outcomes": dict(total.outcomes.most_common()),
            "answers": dict(total.answers.most_common()),
            "failures": total.failures,
        }
        options.state.write_text(json.dumps(state, indent=1))
    seconds = max(time.monotonic() - started, 0.001)
    told = [
        f"{number} files, {number - first} of them now, {(number - first) / seconds:.0f} a second",
        json.dumps({"outcomes": state["outcomes"], "answers": state["answers"]}, indent=1),
        f"{len(total.failures)} failures",
    ]
    sys.stdout.write("\n".join(told) + "\n")
    return 1 if total.failures else 0


def _prepared(sources: list, seed: int) -> Callable[..., Result]:
    """Return what stores a group, in an installation made for it."""
    from django.core.management import call_command
    from django.test import Client
    from django.test.utils import setup_test_environment

    call_command("migrate", verbosity=0)
    setup_test_environment()
    from apps.accounts.roles import Scope
    from tests.conftest import make_clinic
    from tests.dicomweb.conftest import token_for
    from tests.hostile import trials

    clinic = make_clinic("trials", "Trials")
    headers = {"Authorization": f"Bearer {token_for(clinic, Scope.READ)}"}
    client = Client(raise_request_exception=False)
    return partial(trials.try_group, clinic, client, headers, sources, seed)


if __name__ == "__main__":
    sys.exit(main())
