"""Taking a study away."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.services import instances_of, study_zip, zip_name
from apps.studies.models import Study


@require_GET
def study_download(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send a study as a ZIP of plain DICOM files."""
    study = get_object_or_404(Study.objects.select_related("patient", "clinic"), public_id=public_id)
    details = {"format": "zip", "instance_count": study.number_of_study_related_instances}
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)
    documents = study.documents.select_related("study", "blob", "clinic").order_by("created_at", "pk")
    response = StreamingHttpResponse(study_zip(instances_of([study]), documents), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{zip_name([study])}"'
    return response
