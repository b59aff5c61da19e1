"""Deleting a study, looking into the recycle bin, and taking a study out of it."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise, principal_of
from apps.accounts.roles import Capability
from apps.studies import recycling
from apps.studies.errors import RestoreRefusedError
from apps.studies.models import Study

ROWS_ON_A_PAGE = 30
MANAGE = Capability.CLINIC_MANAGE


@require_http_methods(["GET", "HEAD", "POST"])
def study_delete(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Ask whether a study is to go into the recycle bin, and put it there."""
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    authorise(request, MANAGE, study, verb="study.viewed")
    if request.method == "POST" and request.POST.get("delete") == "yes":
        recycling.delete_study(principal_of(request), study)
        messages.success(request, _("The study is in the recycle bin. It can be restored for 30 days."))
        return redirect("deleted-studies", clinic_slug)
    return render(request, "studies/delete.html", {"study": study, "days": recycling.KEPT.days})


@require_safe
def deleted_studies(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List what lies in the recycle bin."""
    page = Paginator(recycling.bin_of(), ROWS_ON_A_PAGE).get_page(request.GET.get("page"))
    authorise(request, MANAGE, verb="study.listed", details={"result_count": len(page.object_list)})
    return render(request, "studies/deleted.html", {"page": page, "days": recycling.KEPT.days})


@require_POST
def study_restore(request: HttpRequest, clinic_slug: str, deleted_id: str) -> HttpResponse:
    """Take a study out of the recycle bin."""
    deleted = get_object_or_404(recycling.bin_of(), public_id=deleted_id)
    try:
        study = recycling.restore_study(principal_of(request), deleted)
    except RestoreRefusedError as error:
        messages.error(request, str(error))
        return redirect("deleted-studies", clinic_slug)
    messages.success(request, _("The study is back, with everything that belongs to it."))
    return redirect("study", clinic_slug, study.public_id)
