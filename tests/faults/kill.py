"""Kills processes of an installation under load and compares what it acknowledged with what it has (F1, F2, F6).

`python -m tests.faults.kill --rounds 100 [--seed N]` from the checkout; a round is one kill -9. `TEST_STACK=servers`
does the same with PostgreSQL, Redis and S3.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tests.environment  # noqa: F401 - chooses the stack before Django is set up

SENDERS = 3


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


def run(installation: Any, access: Any, rounds: int, seed: int) -> Report:
    """Upload in parallel, kill `rounds` processes at random moments, and check; the installation is running."""
    from tests.faults import load, processes

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
        targets = targets or choice.sample(processes.TARGETS, len(processes.TARGETS))
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


def main() -> None:
    """Run as a program: exits 1 when anything was lost, doubled, half there or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    import django

    import tests.environment as environment

    django.setup()
    from tests.faults import load
    from tests.flows.installation import Installation

    installation = Installation(Path(environment.data_dir) / "installation")
    installation.start()
    begun = time.monotonic()
    try:
        report = run(installation, load.Access(installation), options.rounds, options.seed)
    finally:
        installation.stop()
    print(f"{report} ({time.monotonic() - begun:.0f} s)")
    for line in report.wrong[:50]:
        print(f"  {line}")
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
