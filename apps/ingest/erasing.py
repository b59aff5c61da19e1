"""What the way in still holds of studies that are destroyed: other versions of their files, names, arrivals."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from apps.ingest.models import Upload, VersionDecision, WaitingStudy
from apps.storage.models import Blob
from apps.studies.services import Doomed, goes_along


@goes_along
def forget_uploads(doomed: Doomed) -> Callable[[], None]:
    """Take other versions along; the rows of uploads stay, without what a file was called and whose it was."""
    uids = [study.study_instance_uid for study in doomed.studies]
    arrivals = WaitingStudy.objects.filter(clinic=doomed.clinic).filter(
        Q(patient__in=doomed.patients) | Q(study_instance_uid__in=uids, state=WaitingStudy.State.ASSIGNED)
    )
    uploads = Upload.objects.filter(clinic=doomed.clinic).filter(
        Q(study__in=doomed.studies) | Q(instance__series__study__in=doomed.studies) | Q(arrival__in=arrivals)
    )
    doomed.add(Blob.objects.filter(pk__in=uploads.values("blob")))
    decisions = VersionDecision.objects.filter(upload__in=uploads)
    for column in ("before", "after"):
        doomed.add(Blob.objects.filter(pk__in=decisions.values(column)))
    upload_ids, arrival_ids = (list(rows.values_list("pk", flat=True)) for rows in (uploads, arrivals))

    def clear() -> None:
        Upload.objects.filter(pk__in=upload_ids).update(name="", sop_instance_uid="", instance=None, study=None)
        WaitingStudy.objects.filter(pk__in=arrival_ids).update(
            study_instance_uid="",
            study_date=None,
            study_description="",
            dicom_patient_id="",
            issuer_of_patient_id="",
            patient_name="",
            patient_birth_date=None,
            patient_sex="",
            patient=None,
        )

    return clear
