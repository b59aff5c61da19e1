"""`python -m tests.dicom.deidentify [--instances N] [--seed N] [--profile PRESET]`: the long form of the measure."""

from __future__ import annotations

import argparse
import json
import sys

from apps.dicom.deidentify import Mapper, deidentify, preset
from apps.dicom.errors import DicomError

from . import hiding
from .scoring import Score, score


def measure(seed: int, count: int, profile: str, *, said_every: int = 0) -> Score:
    """De-identify ``count`` instances, one at a time, and score them; say the sums every so many on stderr."""
    mapper = Mapper(b"a key of the generator")
    chosen = preset(profile)
    total = Score()
    for number, planted in enumerate(hiding.each_instance(seed, count), 1):
        if said_every and number % said_every == 0:
            sys.stderr.write(json.dumps(total.summary()) + "\n")
        try:
            result = deidentify(planted.data, chosen, mapper, pixel_cleaner=lambda job: None)
        except DicomError:
            total.refused += 1
            continue
        score(total, planted, result.data)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="research")
    options = parser.parse_args()
    total = measure(options.seed, options.instances, options.profile, said_every=200)
    print(json.dumps(total.summary(), indent=1))
    for name, counter in (("leaks", total.leaks), ("lost", total.lost)):
        for what, count in counter.most_common(40):
            print(f"{name}: {count} x {what}")


if __name__ == "__main__":
    main()
