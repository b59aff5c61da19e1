"""The upload page, and the pages that tell what became of an upload."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.access.services import Principal, authorise, principal_of
from apps.accounts.roles import Capability, Rule
from apps.audit.services import quote_formula
from apps.ingest import queries
from apps.ingest.doors import Door
from apps.ingest.lookups import patient_or_404, study_or_404
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.outcomes import describe

# Where members send files from.
CLINIC_DOOR: Final = Door(
    name="upload",
    prefix="c/<slug:clinic_slug>/upload/",
    rule=Rule.clinic(Capability.UPLOAD_CREATE, api=True),
    store_name="dicomweb-studies",
)

ROWS_ON_A_PAGE: Final = 200
BATCHES_ON_A_PAGE: Final = 25
ROWS_ON_A_STUDY: Final = 20
STUDY_BUTTONS: Final = 5


@require_GET
def upload(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show the page that takes files; `?study=` and `?patient=` add documents to these."""
    study = study_or_404(principal_of(request), request.GET.get("study", ""))
    patient = patient_or_404(principal_of(request), request.GET.get("patient", ""))
    entrance = CLINIC_DOOR.entrance(request, {"clinic_slug": clinic_slug})
    context = {
        "study": study,
        "patient": patient,
        "study_url": _study_url(clinic_slug, study.public_id) if study else "",
        "upload_config": entrance.page_config(
            study=study, patient=patient, sign_in_url=reverse("home"), activity_url=reverse("activity")
        ),
    }
    return render(request, "ingest/upload.html", context)


@require_GET
def batches(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List one's own uploads, newest first."""
    principal = principal_of(request)
    authorise(request, Capability.UPLOAD_VIEW, verb="upload.listed")
    pages = Paginator(queries.recent_batches(queries.own_batches(principal)), BATCHES_ON_A_PAGE)
    return render(request, "ingest/batches.html", {"page": pages.get_page(request.GET.get("page"))})


@require_GET
def batch(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Show one upload: how far it is, and what became of each file."""
    found = _batch(request, batch_id)
    # The batch is nobody's patient: who may see it is decided above, the record names it among its details.
    authorise(request, Capability.UPLOAD_VIEW, verb="upload.viewed", details={"upload_reference": found.public_id})
    group = request.GET.get("show", "")
    pages = Paginator(queries.uploads_of(found, group), ROWS_ON_A_PAGE)
    page = pages.get_page(request.GET.get("page"))
    principal = principal_of(request)
    rows = [_listed(principal, upload) for upload in page.object_list]
    progress = queries.progress(found)
    context = {
        "batch": found,
        "progress": progress,
        "rows": rows,
        "page": page,
        "show": group if group in queries.GROUPS else "",
        "groups": [{"name": name, "title": title, "count": progress.count(name)} for name, title in _groups()],
        "study_urls": list(dict.fromkeys(row["study_url"] for row in rows if row["study_url"]))[:STUDY_BUTTONS],
    }
    return render(request, "ingest/batch.html", context)


@require_GET
def batch_csv(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Send what became of each file of one upload as CSV, which no spreadsheet takes for formulas (WEB-07)."""
    found = _batch(request, batch_id)
    details = {"upload_reference": found.public_id, "format": "csv"}
    authorise(request, Capability.UPLOAD_VIEW, verb="upload.viewed", details=details)
    rows = [[_("File"), _("Bytes"), _("What became of it")]]
    for upload in queries.uploads_of(found):
        name = f"{upload.archive.name} › {upload.name}" if upload.archive else upload.name  # noqa: RUF001
        rows.append([name, str(upload.size_bytes), describe(upload.state, upload.code, upload.message)])
    file = io.StringIO()
    csv.writer(file).writerows([quote_formula(cell) for cell in row] for row in rows)
    # The mark tells spreadsheets that this is UTF-8.
    response = HttpResponse("\ufeff" + file.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="upload.csv"'
    return response


@require_GET
def batch_progress(request: HttpRequest, clinic_slug: str, batch_id: str) -> HttpResponse:
    """Say how far one upload is, in numbers alone; asked again every two seconds until it is done."""
    found = _batch(request, batch_id)
    progress = queries.progress(found)
    context = {"batch": found, "progress": progress}
    response = render(request, "ingest/_progress.html", context)
    if progress.is_done:
        # The list below the numbers is as old as the page: load it once more, complete.
        response["HX-Refresh"] = "true"
    return response


@require_GET
def study_uploads(request: HttpRequest, clinic_slug: str, study_id: str) -> HttpResponse:
    """Show the part of the study page that says which uploads brought it."""
    study = study_or_404(principal_of(request), study_id)
    if study is None:
        raise Http404
    authorise(request, Capability.STUDY_VIEW, study, verb="upload.viewed")
    principal = principal_of(request)
    found = queries.batches_of_study(study)[:ROWS_ON_A_STUDY]
    visible = set(queries.visible_batches(principal).filter(pk__in=[b.pk for b in found]).values_list("pk", flat=True))
    context = {"batches": [(item, item.pk in visible) for item in found], "study": study}
    return render(request, "ingest/_study_uploads.html", context)


def _batch(request: HttpRequest, batch_id: str) -> UploadBatch:
    visible = queries.visible_batches(principal_of(request)).select_related("created_by")
    return get_object_or_404(visible, public_id=batch_id)


def _study_url(clinic_slug: str, public_id: str) -> str:
    try:
        return reverse("study", args=[clinic_slug, public_id])
    except NoReverseMatch:
        return ""


def _listed(principal: Principal, upload: Upload) -> dict[str, Any]:
    may_open = (
        upload.study is not None and Capability.STUDY_VIEW in principal.capabilities and principal.may_see(upload.study)
    )
    return {
        "archive": upload.archive.name if upload.archive else "",
        "name": upload.name,
        "state": upload.state,
        "text": describe(upload.state, upload.code, upload.message),
        "size_bytes": upload.size_bytes,
        "study_url": _study_url(principal.clinic.slug, upload.study.public_id) if may_open and upload.study else "",
    }


def _groups() -> list[tuple[str, str]]:
    return [
        ("stored", _("Stored")),
        ("duplicate", _("Already there")),
        ("problem", _("Problems")),
        ("ignored", _("Passed over")),
        ("inbox", _("In the inbox")),
        ("open", _("Under way")),
    ]
