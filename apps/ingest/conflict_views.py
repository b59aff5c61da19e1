"""Where a person compares two versions of one image and decides about them."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.access.services import authorise, authorise_covered, principal_of
from apps.accounts.roles import Capability
from apps.dicom import limited
from apps.dicom.errors import DicomError
from apps.ingest import conflicts
from apps.ingest.errors import IngestError
from apps.ingest.models import Upload
from apps.storage.errors import StorageError
from apps.storage.services import open_blob
from apps.studies.models import Study

ROWS_ON_A_PAGE = 50
SETTLED_SHOWN = 30
MANAGE = Capability.IDENTITY_MANAGE
ACTS = {"keep": conflicts.keep_existing, "replace": conflicts.replace, "both": conflicts.keep_both}


@require_safe
def conflict_list(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List the second versions that wait for a decision, and the latest decisions."""
    principal = principal_of(request)
    page = Paginator(conflicts.open_conflicts(principal), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    settled = list(conflicts.settled_conflicts(principal)[:SETTLED_SHOWN])
    shown = {
        upload.instance.series.study.patient.public_id
        for upload in [*page.object_list, *(decision.upload for decision in settled)]
        if upload.instance is not None
    }
    authorise(request, MANAGE, verb="conflict.listed", details={"patient_references": sorted(shown)})
    return render(request, "ingest/conflicts.html", {"page": page, "settled": settled})


@require_safe
def conflict(request: HttpRequest, clinic_slug: str, conflict_id: str) -> HttpResponse:
    """Show both versions side by side, and what differs."""
    found, study = _conflict(request, conflict_id)
    authorise(request, MANAGE, study, verb="conflict.viewed", details={"upload_reference": found.public_id})
    comparison = None
    if found.blob is not None:
        try:
            comparison = conflicts.compare(found)
        except (DicomError, StorageError) as error:
            messages.error(request, str(error))
    context = {
        "conflict": found,
        "study": study,
        "comparison": comparison,
        "decision": conflicts.decision_of(found),
        "is_open": found.code == conflicts.OPEN,
    }
    return render(request, "ingest/conflict.html", context)


@require_safe
def conflict_picture(request: HttpRequest, clinic_slug: str, conflict_id: str, side: str) -> HttpResponse:
    """Return a small picture of one version: `stored` or `other`."""
    found, study = _conflict(request, conflict_id)
    blob = {"stored": found.instance.blob if found.instance else None, "other": found.blob}.get(side)
    if blob is None:
        raise Http404
    authorise_covered(request, MANAGE, study, verb="conflict.viewed")
    try:
        with open_blob(blob) as file:
            picture = limited.thumbnail(file)
    except (DicomError, StorageError):
        raise Http404 from None
    return HttpResponse(picture, content_type="image/jpeg")


@require_POST
def conflict_settle(request: HttpRequest, clinic_slug: str, conflict_id: str) -> HttpResponse:
    """Keep what is stored, put the other in its place, or keep both."""
    found, _study = _conflict(request, conflict_id)
    act = ACTS.get(request.POST.get("choice", ""))
    if act is None:
        return redirect("conflict", clinic_slug, conflict_id)
    try:
        act(principal_of(request), found)
    except (IngestError, DicomError, StorageError) as error:
        messages.error(request, str(error))
        return redirect("conflict", clinic_slug, conflict_id)
    messages.success(request, _("Decided. The record says who decided it."))
    return redirect("conflicts", clinic_slug)


@require_POST
def conflict_undo(request: HttpRequest, clinic_slug: str, conflict_id: str) -> HttpResponse:
    """Put the version from before back into its place."""
    found, _study = _conflict(request, conflict_id)
    try:
        conflicts.undo_replace(principal_of(request), found)
        messages.success(request, _("Taken back: the version from before is in its place."))
    except (IngestError, DicomError, StorageError) as error:
        messages.error(request, str(error))
    return redirect("conflict", clinic_slug, conflict_id)


def _conflict(request: HttpRequest, public_id: str) -> tuple[Upload, Study]:
    principal = principal_of(request)
    found = conflicts.find_conflict(principal, public_id)
    if found is None or found.instance is None or not principal.may_see(found.instance):
        raise Http404
    return found, found.instance.series.study
