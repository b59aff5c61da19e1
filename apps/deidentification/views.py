"""Choices of the clinic, the queue of what a person must look at, copies, and reports."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access.services import authorise, authorise_covered, principal_of
from apps.accounts.roles import Capability
from apps.billing.errors import LimitReachedError
from apps.clinics.scoping import clinic_scope
from apps.deidentification import checking, services
from apps.deidentification.errors import DecisionRefusedError, UnreviewedError
from apps.deidentification.forms import DecisionForm, LookUpForm, PolicyForm
from apps.deidentification.models import Copy, Identity, Preset, Report, Review
from apps.deidentification.reviewing import frame_picture, frame_size
from apps.deidentification.wording import DID, PIXELS, PRESETS, reason_words
from apps.dicom.errors import DicomError
from apps.exports.services import MEDIA_TYPES, Format, file_name, layout_of, respond
from apps.studies.models import Study

PAGE_SIZE = 50


@require_http_methods(["GET", "HEAD", "POST"])
def anonymisation(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Show and change how the clinic anonymises."""
    authorise(request, Capability.CLINIC_MANAGE, verb="deidentification.viewed")
    principal = principal_of(request)
    policy = services.policy_of(principal.clinic)
    fields = ("link_preset", "download_preset", "ingest_preset", "keeps_identities")
    form = PolicyForm(request.POST or None, initial={field: getattr(policy, field) for field in fields})
    if request.method == "POST" and form.is_valid():
        services.choose(principal, **form.cleaned_data)
        messages.success(request, _("Saved. Links and copies that exist already stay as they are."))
        return redirect("anonymisation", clinic_slug)
    context = {
        "form": form,
        "presets": [(label, PRESETS[value]) for value, label in Preset.choices],
        "waiting_count": Review.objects.filter(state=Review.State.WAITING).count(),
        "policy": policy,
    }
    return render(
        request, "deidentification/anonymisation.html", context, status=400 if request.method == "POST" else 200
    )


@require_http_methods(["GET", "HEAD", "POST"])
def pseudonyms(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """Look up who is behind a pseudonym; each look is recorded."""
    principal = principal_of(request)
    form = LookUpForm(request.POST or None)
    is_asked = request.method == "POST" and form.is_valid()
    authorise(
        request, Capability.CLINIC_MANAGE, verb="pseudonym.revealed" if is_asked else "pseudonym.listed", details={}
    )
    found = services.identity_behind(principal.clinic, form.cleaned_data["pseudonym"]) if is_asked else None
    context = {
        "form": form,
        "is_asked": is_asked,
        "found": found,
        "count": Identity.objects.count(),
        "policy": services.policy_of(principal.clinic),
    }
    return render(request, "deidentification/pseudonyms.html", context)


@require_safe
def reviews(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    """List what waits for a person, and what was decided lately."""
    authorise(request, Capability.LINK_CREATE, verb="review.listed")
    rows = services.reviews_seen_by(principal_of(request))
    waiting = rows.filter(state=Review.State.WAITING).order_by("created_at", "pk")
    decided = rows.exclude(state=Review.State.WAITING).order_by("-decided_at", "-pk")[:20]
    page = Paginator(waiting, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {"page": page, "decided": decided, "reasons": _reasons([*page.object_list, *decided])}
    return render(request, "deidentification/reviews.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def review(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show the frames of one instance with their boxes, and take the decision."""
    shown = _review(request, public_id)
    authorise(request, Capability.LINK_CREATE, shown, verb="review.viewed")
    status = 200
    if request.method == "POST":
        form = DecisionForm(request.POST)
        try:
            if not form.is_valid():
                raise DecisionRefusedError
            is_approved = form.cleaned_data["decision"] == "approve"
            services.decide(
                principal_of(request), shown, is_approved=is_approved, boxes=form.cleaned_data.get("boxes") or []
            )
        except DecisionRefusedError as error:
            messages.error(request, str(error))
            status = 400
        else:
            messages.success(
                request,
                _("Approved: the boxes are cleaned in every frame.") if is_approved else _("Left out of all copies."),
            )
            return redirect("reviews", clinic_slug)
    width, height = frame_size(shown)
    context = {
        "review": shown,
        "study": shown.instance.series.study if shown.instance else None,
        "reasons": [reason_words(code) for code in shown.reasons],
        "frames": range(1, shown.number_of_frames + 1),
        "width": width,
        "height": height,
        "configuration": {
            "columns": shown.columns,
            "rows": shown.rows,
            "frames": shown.number_of_frames,
            "boxes": shown.boxes,
            "proposed": shown.proposed,
            "frame_url": reverse("review-frame", args=[clinic_slug, public_id, 0]).removesuffix("0/"),
        },
    }
    return render(request, "deidentification/review.html", context, status=status)


@require_safe
def review_frame(request: HttpRequest, clinic_slug: str, public_id: str, number: int) -> HttpResponse:
    """Return one frame as a picture."""
    shown = _review(request, public_id)
    authorise_covered(request, Capability.LINK_CREATE, shown, verb="review.viewed")
    if not 1 <= number <= shown.number_of_frames:
        raise Http404
    try:
        picture = frame_picture(shown, number)
    except DicomError:
        raise Http404 from None
    return HttpResponse(picture, content_type="image/jpeg")


@require_http_methods(["GET", "HEAD", "POST"])
def copies(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show the anonymised copies of a study and their reports; POST asks for one to download."""
    study = get_object_or_404(Study.objects.select_related("patient", "clinic"), public_id=public_id)
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="copy.listed")
    principal = principal_of(request)
    status = 200
    refused = ""
    if request.method == "POST":
        try:
            services.request_copy(principal, [study], Copy.Purpose.DOWNLOAD)
        except (LimitReachedError, UnreviewedError) as error:
            refused, status = str(error), 409
        else:
            return redirect("copies", clinic_slug, public_id)
    context: dict[str, Any] = {
        "study": study,
        "refused": refused,
        "copies": list(Copy.objects.filter(studies=study).select_related("created_by").order_by("-created_at")[:20]),
        "reports": list(Report.objects.filter(study=study).select_related("copy").order_by("-created_at")[:20]),
        "waiting_count": services.waiting_for([study]).count(),
        "policy": services.policy_of(principal.clinic),
    }
    context["is_busy"] = any(copy.state == Copy.State.PREPARING for copy in context["copies"])
    is_part = request.headers.get("HX-Request") == "true"
    template = "deidentification/_copies.html" if is_part else "deidentification/copies.html"
    return render(request, template, context, status=status)


@require_safe
def copy_download(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponseBase:
    """Send an anonymised copy as a ZIP."""
    rows = Copy.objects.select_related("clinic").filter(purpose=Copy.Purpose.DOWNLOAD, state=Copy.State.READY)
    copy = get_object_or_404(rows, public_id=public_id)
    for study in copy.studies.select_related("patient"):
        if not principal_of(request).may_see(study):
            raise Http404
    details = {"format": "zip", "instance_count": copy.instance_count}
    authorise(request, Capability.STUDY_DOWNLOAD, copy, verb="copy.downloaded", details=details)
    with clinic_scope(copy.clinic, edition=copy.public_id):
        studies = list(Study.objects.select_related("patient", "clinic").order_by("study_date", "pk"))
        layout = layout_of(copy.clinic, studies, Format.ZIP)
    return respond(
        request,
        size_bytes=layout.size_bytes,
        digest=layout.digest,
        chunks=lambda start, stop: layout.iterate(copy.clinic, start, stop),
        media_type=MEDIA_TYPES[Format.ZIP],
        name=file_name(studies, Format.ZIP),
    )


@require_safe
def report(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Show what was done to a study."""
    shown = _report(public_id)
    authorise(request, Capability.STUDY_VIEW, shown, verb="report.viewed")
    content = shown.content
    changes = [row | {"words": DID.get(row["did"], row["did"])} for row in content.get("changes", [])]
    context = {
        "report": shown,
        "content": content,
        "changes": changes,
        "pixels": [(PIXELS.get(name, name), count) for name, count in content.get("pixels", {}).items()],
        "can_verify": shown.copy is not None and shown.copy.state == Copy.State.READY,
    }
    return render(request, "deidentification/report.html", context)


@require_safe
def report_json(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Send a report as a file."""
    shown = _report(public_id)
    authorise(request, Capability.STUDY_VIEW, shown, verb="report.downloaded", details={"format": "json"})
    content: dict[str, Any] = {
        "report": shown.public_id,
        "created_at": shown.created_at.isoformat(),
        "verified_at": shown.verified_at.isoformat() if shown.verified_at else None,
        "residue_found_when_verified": shown.residue_count,
        **shown.content,
    }
    response = HttpResponse(json.dumps(content, indent=2, ensure_ascii=False), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="report-{shown.public_id}.json"'
    return response


@require_POST
def report_verify(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Look again for residue in the images that a report is about, in a job."""
    shown = _report(public_id)
    authorise(request, Capability.STUDY_DOWNLOAD, shown, verb="report.requested")
    if shown.copy is None or shown.copy.state != Copy.State.READY:
        return JsonResponse({"code": "copy-ended"}, status=409)
    checking.request_check(shown)
    messages.success(request, _("The images are searched again. Reload this page in a moment."))
    return redirect("report", clinic_slug, public_id)


def _review(request: HttpRequest, public_id: str) -> Review:
    return get_object_or_404(services.reviews_seen_by(principal_of(request)), public_id=public_id)


def _report(public_id: str) -> Report:
    return get_object_or_404(Report.objects.select_related("study__patient", "copy", "clinic"), public_id=public_id)


def _reasons(rows: list[Review]) -> dict[str, str]:
    return {row.public_id: " ".join(reason_words(code) for code in row.reasons[:2]) for row in rows}
