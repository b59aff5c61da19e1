"""The worklist and the pages of one study."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_safe

from apps.access.services import authorise, authorise_thumbnail, principal_of
from apps.accounts.roles import Capability
from apps.studies import services
from apps.studies.forms import MODALITIES, WorklistForm
from apps.studies.models import Series, Study
from apps.studies.papers import PAPER_KINDS
from apps.studies.queries import documents_of, search_page, series_of, viewings_of

PAGE_SIZE = 50


@require_http_methods(["GET", "HEAD", "POST"])
def worklist(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show the clinic's studies; POST searches, and answers htmx with the list alone."""
    form = WorklistForm(request.POST) if request.method == "POST" else WorklistForm()
    page = search_page(
        principal_of(request),
        form.criteria(),
        order=form.chosen_order(),
        page=form.chosen_page(),
        size=PAGE_SIZE,
    )
    details = {"page": form.chosen_page(), "result_count": len(page.studies), "fields": form.used()}
    authorise(
        request, Capability.STUDY_SEARCH, verb="study.searched" if form.used() else "study.listed", details=details
    )
    first = (form.chosen_page() - 1) * PAGE_SIZE
    context = {
        "form": form,
        "page": page,
        "number": form.chosen_page(),
        "first": first + 1,
        "last": first + len(page.studies),
        "order": form.chosen_order().value,
        "is_search": bool(form.used()),
        "modalities": MODALITIES,
        "chosen_modalities": form.criteria().modalities_in_study,
    }
    is_part = request.headers.get("HX-Request") == "true"
    return render(
        request, "studies/_studies.html" if is_part else "studies/worklist.html", context | {"is_part": is_part}
    )


@require_safe
def study(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show one study: its series with pictures, its documents, and where it came from."""
    shown = _study(public_id)
    authorise(request, Capability.STUDY_VIEW, shown, verb="study.viewed")
    series = series_of(shown)
    context = {
        "study": shown,
        "series": series,
        "documents": documents_of(shown),
        "papers": [one for one in series if one.kind in PAPER_KINDS],
    }
    return render(request, "studies/study.html", context)


@require_safe
def study_views(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show the part of the study page that says who opened it; reading that is recorded too."""
    shown = _study(public_id)
    authorise(request, Capability.AUDIT_READ, shown, verb="audit.viewed")
    return render(request, "studies/_views.html", {"study": shown, "viewings": viewings_of(shown)})


@require_safe
def series_thumbnail(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Return the picture of a series as JPEG."""
    rows = Series.objects.select_related("study__patient", "clinic", "thumbnail_blob")
    series = get_object_or_404(rows, public_id=public_id)
    authorise_thumbnail(request, series.study)
    try:
        picture = services.thumbnail(series)
    except services.NoThumbnailError:
        raise Http404 from None
    return HttpResponse(picture, content_type="image/jpeg")


def _study(public_id: str) -> Study:
    return get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
