"""Taking along what a link shows, where it allows that."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.services import instances_of, study_zip, zip_name
from apps.sharing import services


@require_safe
@services.recipient_page
def share_download(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send one study of the link as a ZIP, where the link allows it."""
    share = request.share  # type: ignore[attr-defined]
    studies = services.visible_studies(share).select_related("patient", "clinic")
    study = get_object_or_404(studies, public_id=public_id)
    details = {"format": "zip", "instance_count": study.number_of_study_related_instances}
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)
    documents = study.documents.select_related("study", "blob", "clinic").order_by("created_at", "pk")
    chunks = study_zip(instances_of([study]), documents)
    response = StreamingHttpResponse(services.while_shared(request, link_id, chunks), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{zip_name([study])}"'
    return response
