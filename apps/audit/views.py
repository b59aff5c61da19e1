"""The audit page of a clinic and its export. Reading the trail is itself recorded."""

from __future__ import annotations

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.audit.export import csv_lines, spoken_verbs
from apps.audit.forms import FilterForm
from apps.audit.models import AuditEvent
from apps.audit.queries import page_of, search_events
from apps.audit.services import current_context, record
from apps.clinics.models import Clinic

PAGE_SIZE = 50


@require_safe
def audit(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show who did what in this clinic, newest first."""
    clinic = _clinic_of(request)
    form = FilterForm(request.GET or None)
    is_valid = not form.is_bound or form.is_valid()
    filters = form.cleaned_data if form.is_bound and is_valid else {}
    event = _record_reading(request, clinic, "audit.viewed", form if filters else None)
    events, older = (
        page_of(
            search_events(clinic.pk, filters).filter(pk__lt=event.pk),
            clinic_id=clinic.pk,
            before=request.GET.get("before", ""),
            size=PAGE_SIZE,
        )
        if is_valid
        else ([], "")
    )
    kept = request.GET.copy()
    kept.pop("before", None)
    filter_query = kept.urlencode()
    kept["before"] = older
    return render(
        request,
        "audit/audit.html",
        {
            "form": form,
            "events": events,
            "filter_query": filter_query,
            "older_query": kept.urlencode() if older else "",
            "is_first_page": "before" not in request.GET,
            "is_filtered": any(filters.values()),
        },
    )


@require_safe
def export(request: HttpRequest, clinic_slug: str) -> HttpResponseBase:
    """Send everything the filters leave as CSV."""
    clinic = _clinic_of(request)
    form = FilterForm(request.GET)
    if not form.is_valid():
        raise BadRequest(_("The filters of this export are not understood."))
    event = _record_reading(request, clinic, "audit.exported", form)
    events = search_events(clinic.pk, form.cleaned_data).filter(pk__lt=event.pk).iterator(chunk_size=1000)
    name = f"audit-{clinic.slug}-{timezone.localdate():%Y-%m-%d}.csv"
    return StreamingHttpResponse(
        csv_lines(events, spoken_verbs()),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _clinic_of(request: HttpRequest) -> Clinic:
    # Set by the rule of the URL; without it this view must not answer at all.
    clinic: Clinic = request.clinic  # type: ignore[attr-defined]
    return clinic


def _record_reading(request: HttpRequest, clinic: Clinic, verb: str, form: FilterForm | None) -> AuditEvent:
    event = record(
        verb,
        context=current_context(),
        clinic_id=clinic.pk,
        object_kind="audit",
        object_reference=clinic.public_id,
        study_reference=form.cleaned_data.get("study", "") if form else "",
        details={"filters": form.used()} if form and form.used() else None,
    )
    request.audit_id = event.public_id  # type: ignore[attr-defined]
    return event
