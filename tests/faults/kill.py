"""Kills processes of an installation under load and compares what it acknowledged with what it has (F1, F2, F6).

`python -m tests.faults.kill --rounds 100 [--seed N]` from the checkout; a round is one kill -9. `TEST_STACK=servers`
does the same with PostgreSQL, Redis and S3. `--tally FILE` is the long form: it kills the web server 50 times and the
worker 200 times (`--web`, `--worker`), in portions with an installation each, and adds a line to the file after each
portion, so that it goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tests.environment  # noqa: F401 - chooses the stack before Django is set up
from tests.faults import processes
from tests.faults.results import add_result

SENDERS = 3
PORTION = 100
SIDES = {"web": ("web", "web worker"), "worker": ("worker", "worker child")}


@dataclass
class Report:
    """What happened and what was wrong afterwards."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    sent: int = 0
    wrong: list[str] = field(default_factory=list)
    inside: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"seed {self.seed}: {self.kills.total()} kills ({kills}); {self.acknowledged} of {self.sent} instances "
            f"acknowledged; {len(self.wrong)} violations; inside: {self.inside}"
        )


def run(installation: Any, access: Any, rounds: int, seed: int, mix: Sequence[str] = processes.TARGETS) -> Report:
    """Upload in parallel, kill `rounds` processes at random moments, and check; the installation is running.

    `mix`: what is killed, as often as it is named, in a random order.
    """
    from tests.faults import load

    print(f"kill -9 with seed {seed}", flush=True)
    choice = random.Random(seed)
    ledger, stop = load.Ledger(), threading.Event()
    senders = [load.Sender(access, ledger, seed + number, stop) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    report = Report(seed)
    # Every kind in turn, in a random order each time, so that a short run meets all of them.
    targets: list[str] = []
    while report.kills.total() < rounds and any(sender.is_alive() for sender in senders):
        targets = targets or choice.sample(mix, len(mix))
        time.sleep(choice.uniform(0.2, 1.8))
        target = targets.pop()
        victims = processes.find(installation.process.pid, target)
        if victims and processes.kill(choice.choice(victims)):
            report.kills[target] += 1
        else:
            targets.append(target)
    stop.set()
    for sender in senders:
        sender.join(load.GIVE_UP_SECONDS * 2)
    check(installation, access, ledger, report)
    return report


def check(installation: Any, access: Any, ledger: Any, report: Report) -> None:
    """Compare the ledger with the installation at rest, from inside and from outside."""
    from tests import servers
    from tests.faults import load

    servers.wait_until(lambda: installation.status("/readyz") == 200, "Viewbox after the kills", seconds=60)
    lines = installation.manage("shell", "-v", "0", "-c", "from tests.faults import oracle; oracle.main()")
    report.inside = json.loads(lines.splitlines()[-1])
    report.wrong += report.inside.pop("wrong")
    report.wrong += load.compare(access, ledger)
    installation.manage("verify_audit")  # exits 1, and so fails here, when the trail does not verify
    report.acknowledged, report.sent = len(ledger.acknowledged), len(ledger.sent)


def told(tally: Path) -> Counter[str]:
    """Count what the portions in a tally add up to: kills of each side, instances, violations."""
    total: Counter[str] = Counter()
    for line in tally.read_text().splitlines() if tally.exists() else []:
        portion = json.loads(line)
        for side, targets in SIDES.items():
            total[side] += sum(portion["kills"].get(target, 0) for target in targets)
        total["kills"] += sum(portion["kills"].values())
        total["acknowledged"] += portion["acknowledged"]
        total["wrong"] += len(portion["wrong"])
    return total


def one_installation(rounds: int, seed: int, mix: Sequence[str]) -> Report:
    """Kill in an installation of its own, made for this and thrown away."""
    import tests.environment as environment
    from tests.faults import load
    from tests.flows.installation import Installation

    installation = Installation(Path(environment.data_dir) / f"installation-{seed}")
    installation.start()
    begun = time.monotonic()
    try:
        report = run(installation, load.Access(installation), rounds, seed, mix)
    finally:
        installation.stop()
    print(f"{report} ({time.monotonic() - begun:.0f} s)", flush=True)
    for line in report.wrong[:50]:
        print(f"  {line}", flush=True)
    return report


def long_form(tally: Path, wanted: dict[str, int]) -> int:
    """Kill in portions until the tally has what is wanted; return the violations of all portions."""
    while any((so_far := told(tally))[side] < count for side, count in wanted.items()):
        left = {side: max(0, count - so_far[side]) for side, count in wanted.items()}
        shares = {side: -(-PORTION * count // sum(left.values())) for side, count in left.items()}
        mix = [SIDES[side][number % 2] for side, share in shares.items() for number in range(min(share, left[side]))]
        mix += ["parser", "scheduler"]
        seed = secrets.randbelow(1 << 31)
        report = one_installation(len(mix), seed, mix)
        line = {"seed": seed, "kills": report.kills, "acknowledged": report.acknowledged, "wrong": report.wrong}
        with tally.open("a") as file:
            file.write(json.dumps(line) + "\n")
    print(", ".join(f"{count} {name}" for name, count in sorted(told(tally).items())))
    return told(tally)["wrong"]


def main() -> None:
    """Run as a program: exits 1 when anything was lost, doubled, half there or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--tally", type=Path)
    parser.add_argument("--web", type=int, default=50)
    parser.add_argument("--worker", type=int, default=200)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    import django

    django.setup()
    if options.tally:
        wrong = long_form(options.tally, {"web": options.web, "worker": options.worker})
        figures = ", ".join(f"{count} {name}" for name, count in sorted(told(options.tally).items()))
        add_result(options.report, "kill -9 (F1, F2, F6)", figures, not wrong)
        sys.exit(1 if wrong else 0)
    sys.exit(1 if one_installation(options.rounds, options.seed, processes.TARGETS).wrong else 0)


if __name__ == "__main__":
    main()
