"""What uploads say of a study in the recycle bin: nothing, and after it is restored what they said before."""

from __future__ import annotations

from apps.clinics.scoping import every_clinic
from apps.ingest.models import Upload, UploadBatch
from apps.studies.models import Instance, Study
from apps.studies.services import refers_to_studies


def forget(study: Study) -> None:
    """Let no upload lead to a study that is not there."""
    Upload.objects.filter(study=study).update(study=None)
    Upload.objects.filter(instance__series__study=study).update(instance=None)
    UploadBatch.objects.filter(study=study).update(study=None)


def remember(study: Study) -> None:
    """Let uploads lead to the instances again that they brought, found by blob and SOP Instance UID."""
    with every_clinic():
        rows = list(Instance.objects.filter(series__study=study).values_list("pk", "blob", "sop_instance_uid"))
    for pk, blob, uid in rows:
        named = Upload.objects.filter(clinic_id=study.clinic_id, sop_instance_uid=uid, instance=None)
        named.filter(state=Upload.State.STORED, blob=blob).update(instance=pk, study=study.pk)
        named.filter(state=Upload.State.DUPLICATE).update(instance=pk, study=study.pk)


refers_to_studies(forget, remember)
