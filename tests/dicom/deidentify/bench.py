"""`python -m tests.dicom.deidentify.bench [--files N] [--beside PYTHON]`: CT instances a second, file to file.

Times `manage.py deidentify` with one worker, less its start, on CT 512x512, and, in the same minutes and in turns, the
fastest public tool that leaks little (grand-challenge-dicom-de-identifier), which lives in another environment:
`python3 -m venv /tmp/tool && /tmp/tool/bin/pip install grand-challenge-dicom-de-identifier` and `--beside
/tmp/tool/bin/python`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from apps.dicom.phantom import ct_head

_BESIDE = """
import sys, time
from pathlib import Path
from pydicom import dcmread
from grand_challenge_dicom_de_identifier.deidentifier import DicomDeidentifier
files = sorted(Path(sys.argv[1]).glob("*.dcm")); out = Path(sys.argv[2]); tool = DicomDeidentifier()
start = time.perf_counter()
for path in files:
    tool.deidentify_file(path, output=out / path.name)
print(time.perf_counter() - start)
"""


def processor_seconds() -> float:
    """Seconds of processor that finished children took: unlike the clock, no matter what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(source: Path, target: Path, key: Path) -> tuple[float, float]:
    """Seconds, and seconds of processor, of the command for a folder, its start and end included."""
    start, used = time.perf_counter(), processor_seconds()
    subprocess.run(
        [
            sys.executable,
            "manage.py",
            "deidentify",
            str(source),
            str(target),
            "--profile",
            "research",
            "--key",
            str(key),
        ],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[3],
    )
    return time.perf_counter() - start, processor_seconds() - used


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, one = folder / "in", folder / "one"
        source.mkdir()
        one.mkdir()
        slices = list(ct_head(slices=min(options.files, 100)))
        for number in range(options.files):
            (source / f"ct{number:05}.dcm").write_bytes(slices[number % len(slices)])
        (one / "ct.dcm").write_bytes(slices[0])
        key = folder / "key"
        key.write_bytes(b"a key for the benchmark")
        best: dict[str, float] = {}
        for turn in range(options.rounds):
            whole, start = ours(source, folder / f"out{turn}", key), ours(one, folder / f"start{turn}", key)
            for who, seconds in zip(
                ("ours", "ours, processor alone"), (whole[n] - start[n] for n in (0, 1)), strict=True
            ):
                best[who] = min(best.get(who, seconds), seconds)
            if options.beside is not None:
                out = folder / f"beside{turn}"
                out.mkdir()
                ran = subprocess.run(
                    [options.beside, "-c", _BESIDE, str(source), str(out)], check=True, capture_output=True, text=True
                )
                best["beside"] = min(best.get("beside", 1e9), float(ran.stdout))
        for who, seconds in best.items():
            print(f"{who}: {options.files / seconds:.0f} instances/s")
        if "beside" in best:
            print(f"ratio: {best['beside'] / best['ours']:.2f}")


if __name__ == "__main__":
    main()
