"""Taking along what a link shows, where it allows that."""

from __future__ import annotations

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.exports.services import MEDIA_TYPES, Format, file_name, layout_of, respond
from apps.sharing import services
from apps.studies.models import Study


@require_safe
@services.recipient_page
def share_download(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Send one study of the link as one file, where the link allows it; `?format=iso` as the image of a disc."""
    studies = services.visible_studies(request.share).select_related("patient", "clinic")  # type: ignore[attr-defined]
    study = get_object_or_404(studies, public_id=public_id)
    _authorise(request, study)
    return _send(request, link_id, [study])


@require_safe
@services.recipient_page
def share_download_all(request: HttpRequest, link_id: str) -> HttpResponseBase:
    """Send all studies of the link as one file."""
    studies = services.visible_studies(request.share).select_related("patient", "clinic")  # type: ignore[attr-defined]
    chosen = list(studies.order_by("study_date", "pk"))
    if not chosen:
        raise Http404
    for study in chosen:
        _authorise(request, study)
    return _send(request, link_id, chosen)


def _authorise(request: HttpRequest, study: Study) -> None:
    details: dict[str, object] = {
        "format": _format(request).value,
        "instance_count": study.number_of_study_related_instances,
    }
    if request.headers.get("Range"):
        details["is_resumed"] = True
    authorise(request, Capability.STUDY_DOWNLOAD, study, verb="study.downloaded", details=details)


def _format(request: HttpRequest) -> Format:
    try:
        return Format(request.GET.get("format", Format.ZIP))
    except ValueError:
        raise Http404 from None


def _send(request: HttpRequest, link_id: str, studies: list[Study]) -> HttpResponseBase:
    kind = _format(request)
    clinic = studies[0].clinic
    layout = layout_of(clinic, studies, kind)
    return respond(
        request,
        size_bytes=layout.size_bytes,
        digest=layout.digest,
        chunks=lambda start, stop: services.while_shared(request, link_id, layout.iterate(clinic, start, stop)),
        media_type=MEDIA_TYPES[kind],
        name=file_name(studies, kind),
    )
