"""The long form of the burned-in text test: python -m tests.dicom.burned_in [--samples FOLDER] [--files N]."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from apps.dicom.burned_in.models import DETECTION, RECOGNITION, limit_threads, session
from tests.dicom.burned_in import measure, planted


def main() -> int:
    """Measure every kind in every syntax asked for; print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=None)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--kinds", nargs="+", default=["us", "cr", "sc", "cine"])
    parser.add_argument("--syntaxes", nargs="+", default=["native", "jpeg"])
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    limit_threads(chosen.threads)
    # Loaded once in the life of a process: no part of the time of a frame.
    for name in (DETECTION, RECOGNITION):
        session(name)
    total = measure.Score()
    for kind in chosen.kinds:
        for name, frames in planted.backgrounds(kind, chosen.samples):
            measure.OWN_FRAMES[kind, name] = frames
        for syntax in chosen.syntaxes:
            score = measure.Score()
            for made in planted.run(kind, syntax, chosen.files, chosen.seed, chosen.samples):
                score.add(made, kind)
            total = total.joined(score)
            sys.stdout.write(json.dumps({"kind": kind, "syntax": syntax, **score.as_dict()}) + "\n")
            sys.stdout.flush()
    sys.stdout.write(json.dumps({"kind": "all", **total.as_dict()}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
