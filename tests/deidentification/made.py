"""An anonymised copy, its report, and an image that waits for a person: one of each for a study."""

from __future__ import annotations

from dataclasses import dataclass

from apps.access.services import Principal
from apps.deidentification import services
from apps.deidentification.models import Copy, Report, Review
from apps.deidentification.services import Case
from apps.dicom.burned_in.boxes import Box
from apps.dicom.parse import parse_header
from apps.jobs.services import process_until_idle
from apps.storage.services import open_blob
from apps.studies.models import Instance, Study


@dataclass
class Anonymised:
    copy: Copy
    report: Report
    review: Review


def make_anonymised(acts: Principal, study: Study) -> Anonymised:
    """Make them; the clinic's scope is open."""
    copy = services.request_copy(acts, [study], Copy.Purpose.DOWNLOAD)
    process_until_idle()
    copy.refresh_from_db()
    assert copy.state == Copy.State.READY, copy.state
    instance = Instance.objects.select_related("blob", "clinic").filter(series__study=study).first()
    assert instance
    with open_blob(instance.blob) as file:
        header = parse_header(file)
    case = Case(("secondary-capture",), (Box(1, 1, 5, 5),), header)
    review = services.open_review(instance.clinic, instance.blob, case, instance=instance)
    return Anonymised(copy, Report.objects.get(copy=copy), review)
