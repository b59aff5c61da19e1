"""Damaged files through the real pipeline, and a look at what was accepted: no error of ours, nothing stuck, no hang.

A trial happens inside a transaction that is taken back, so that a hundred thousand leave nothing behind.
"""

from __future__ import annotations

import io
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.test import Client

from apps.access.services import import_principal
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.dicom.parse import Header
from apps.dicom.validate import validate
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.quarantine import Arrival
from apps.ingest.services import open_batch, store_arrivals
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.studies.models import Instance
from tests.hostile.mutations import Source, mutant

# A file may cost its child's limits, a group of them no more than a few of these.
SLOW_SECONDS = 300.0


@dataclass
class Result:
    """What a group of damaged files came to: outcomes, views, and what must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Count another group in."""
        self.outcomes += other.outcomes
        self.answers += other.answers
        self.failures += other.failures


def try_group(
    clinic: Clinic,
    client: Client,
    headers: dict[str, str],
    sources: Sequence[Source],
    seed: int,
    numbers: range,
    *,
    looks: bool = True,
) -> Result:
    """Send the damaged files of these numbers through the pipeline, and take it all back.

    `looks`: work off the jobs that follow an arrival and ask for everything that was accepted, as a viewer does; else
    the way ends where the files are stored.
    """
    result = Result()
    started = time.monotonic()
    with clinic_scope(clinic), transaction.atomic():
        try:
            _store(clinic, result, sources, seed, numbers)
            if looks:
                _work(result, numbers)
                _look(client, f"/c/{clinic.slug}/dicomweb", headers, result, numbers)
        except Exception as error:
            told = "".join(traceback.format_exception(error))[-3000:]
            result.failures.append({"numbers": [numbers.start, numbers.stop], "what": told})
        transaction.set_rollback(True)
    seconds = time.monotonic() - started
    if seconds > SLOW_SECONDS:
        result.failures.append({"numbers": [numbers.start, numbers.stop], "what": f"took {seconds:.0f} s"})
    return result


def read_group(sources: Sequence[Source], seed: int, numbers: range) -> Result:
    """Read the damaged files of these numbers in limited children, the pipeline's first step, and no further."""
    result = Result()
    files = [io.BytesIO(mutant(sources, seed, number)[1]) for number in numbers]
    try:
        for number, header in zip(numbers, limited.parse_headers(files), strict=True):
            answer = _judged(header)
            result.outcomes[f"read, {answer}"] += 1
            if answer in ("parser-crashed", "parser-timed-out"):
                result.failures.append({"number": number, "what": answer})
    except Exception as error:
        told = "".join(traceback.format_exception(error))[-3000:]
        result.failures.append({"numbers": [numbers.start, numbers.stop], "what": told})
    return result


def _judged(header: Header | DicomError) -> str:
    if isinstance(header, DicomError):
        return header.code.value
    try:
        validate(header)
    except DicomError as error:
        return error.code.value
    return "acceptable"


def _store(clinic: Clinic, result: Result, sources: Sequence[Source], seed: int, numbers: range) -> None:
    principal = import_principal(clinic, "trials")
    batch = open_batch(principal, UploadBatch.Source.IMPORT)
    arrivals = (Arrival(str(number), [mutant(sources, seed, number)[1]]) for number in numbers)
    for finding in store_arrivals(principal, batch, arrivals):
        upload = finding.upload
        result.outcomes[f"{upload.state} {upload.code}".strip()] += 1
        if upload.state == Upload.State.RECEIVED:
            result.failures.append({"number": int(upload.name), "what": "left waiting"})


def _work(result: Result, numbers: range) -> None:
    process_until_idle()
    for job in Job.objects.exclude(state=Job.State.DONE):
        result.failures.append({"numbers": [numbers.start, numbers.stop], "what": f"job {job.kind}: {job.error}"})


def _look(client: Client, root: str, headers: dict[str, str], result: Result, numbers: range) -> None:
    rows = Instance.objects.select_related("series__study").order_by("pk")
    for instance in list(rows):
        series = f"studies/{instance.series.study.study_instance_uid}/series/{instance.series.series_instance_uid}"
        one = f"{series}/instances/{instance.sop_instance_uid}"
        for path in (f"{series}/metadata", f"{one}/rendered", f"{one}/frames/1", f"{one}/thumbnail"):
            response = client.get(f"{root}/{path}", headers=headers)
            if response.streaming:
                b"".join(response.streaming_content)
            result.answers[f"{path.rpartition('/')[2]} {response.status_code}"] += 1
            if response.status_code >= 500:
                number = Upload.objects.filter(instance=instance).values_list("name", flat=True).first()
                what = f"{path.rpartition('/')[2]} answered {response.status_code}"
                result.failures.append({"number": int(number or numbers.start), "what": what})
