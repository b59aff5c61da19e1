"""2 GB taken along with flat memory: `pytest tests/exports/large.py -s` (not in the suite: it writes 2 GB)."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom.parse import parse_header
from apps.exports.services import Format, layout_of
from apps.storage.services import write_blob
from apps.studies.models import Study
from apps.studies.services import index_instances
from tests.studies.files import part10

FILES, PIXELS = 64, 32 << 20
MAX_GROWTH_BYTES = 96 << 20


def memory_bytes(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since the last reset) of this process, as the kernel counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@pytest.mark.django_db
@pytest.mark.timeout(900)
def test_two_gigabytes_with_flat_memory(clinic_a: Clinic) -> None:
    with clinic_scope(clinic_a):
        for number in range(FILES):
            content = part10(f"large{number}", Rows=4096, Columns=4096, BitsAllocated=16, PixelData=bytes(PIXELS))
            header = parse_header(io.BytesIO(content))
            index_instances(clinic_a, [(header, write_blob(clinic_a, "instance", [content]))])
            del content, header
        studies = list(Study.objects.select_related("patient", "clinic"))
        layout_of(clinic_a, studies, Format.ZIP)  # metadata and pictures are made on arrival otherwise
    for kind in (Format.ISO, Format.ZIP, Format.ZIP):
        Path("/proc/self/clear_refs").write_text("5")  # what was needed to make the study does not count
        before, started, sent = memory_bytes("VmRSS"), time.monotonic(), 0
        with clinic_scope(clinic_a):
            laid = layout_of(clinic_a, studies, kind)
        laid_out = time.monotonic() - started
        for chunk in laid.iterate(clinic_a):
            sent += len(chunk)
        seconds = time.monotonic() - started
        growth = memory_bytes("VmHWM") - before
        print(f"{kind}: {sent / 1e9:.2f} GB in {seconds:.1f} s ({sent / 1e6 / seconds:.0f} MB/s), "
              f"laid out in {laid_out:.2f} s, peak memory + {growth / 1e6:.0f} MB")  # fmt: skip
        assert sent == laid.size_bytes > 2e9
        assert growth < MAX_GROWTH_BYTES
