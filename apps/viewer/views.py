"""The viewers' pages, for members of a clinic and for who holds a share link.

One address a study: the quick viewer stands at it, the full viewer (OHIF) below it, at its modes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.access.services import authorise, authorise_series, principal_of
from apps.accounts.roles import Capability
from apps.sharing.services import recipient_page
from apps.studies.models import Document, Series, Study
from apps.viewer import quick
from apps.viewer.assets import Build, QuickBuild, current_build, current_quick_build
from apps.viewer.configuration import COMPARISON, MICROSCOPY_MODE, MODES, VIEWER_MODE, Configuration, mode_for
from apps.viewer.queries import contents, first_series, papers, reports
from apps.viewer.words import words

# The viewer sets styles from scripts and draws into blob: images; it may not make code from text, nor ask another host.
# PDF documents are fetched and shown as blob: objects; the element stands there without an address at first, which
# counts as the page's own.
VIEWER_POLICY: Final = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:", "blob:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "worker-src": [SELF],
    "media-src": [SELF, "blob:"],
    "object-src": [SELF, "blob:"],
    "frame-src": ["blob:"],
    "base-uri": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [NONE],
}
# The quick viewer is ours: no style from scripts, no plug-ins.
QUICK_POLICY: Final = VIEWER_POLICY | {"style-src": [SELF], "object-src": [NONE]}
Page = Callable[..., HttpResponse]
_viewer_policy = cast("Callable[[Page], Page]", csp(VIEWER_POLICY))
_quick_policy = cast("Callable[[Page], Page]", csp(QUICK_POLICY))


@dataclass(frozen=True)
class Place:
    """Where a viewer was opened: by a member of a clinic, or under a share link."""

    page: str
    mode_page: str
    report_page: str
    document_page: str
    take_root: str
    arguments: tuple[str, ...]
    dicomweb_root: str
    home_url: str
    home_label: str
    base: str

    def url(self, study: Study) -> str:
        """Return the quick viewer's address of a study."""
        return reverse(self.page, args=[*self.arguments, study.public_id])

    def mode_url(self, study: Study, mode: str) -> str:
        """Return the full viewer's address of a study."""
        return reverse(self.mode_page, args=[*self.arguments, study.public_id, mode])

    def report_url(self, series: Series) -> str:
        """Return where the words of a series of reports are had."""
        return reverse(self.report_page, args=[*self.arguments, series.public_id])


def _of_clinic(clinic_slug: str, public_id: str) -> Place:
    return Place(
        page="viewer",
        mode_page="viewer-mode",
        report_page="viewer-reports",
        document_page="document",
        take_root=f"/c/{clinic_slug}/series/",
        arguments=(clinic_slug,),
        dicomweb_root=f"/c/{clinic_slug}/dicomweb",
        home_url=reverse("study", args=[clinic_slug, public_id]),
        home_label=_("Back to the study"),
        base="base.html",
    )


def _of_link(link_id: str) -> Place:
    return Place(
        page="share-viewer",
        mode_page="share-viewer-mode",
        report_page="share-viewer-reports",
        document_page="share-document",
        take_root=f"/v/{link_id}/series/",
        arguments=(link_id,),
        dicomweb_root=f"/v/{link_id}/dicomweb",
        home_url=reverse("share-home", args=[link_id]),
        home_label=_("All that was shared"),
        base="base_door.html",
    )


@require_safe
def viewer(request: HttpRequest, clinic_slug: str, public_id: str, mode: str = "") -> HttpResponse:
    """Open a study of the clinic in a viewer."""
    return _open(request, _of_clinic(clinic_slug, public_id), public_id, mode)


@require_safe
@recipient_page
def share_viewer(request: HttpRequest, link_id: str, public_id: str, mode: str = "") -> HttpResponseBase:
    """Open a study of a share link in a viewer."""
    return _open(request, _of_link(link_id), public_id, mode)


@require_safe
def viewer_reports(request: HttpRequest, clinic_slug: str, public_id: str) -> HttpResponse:
    """Return what the reports of a series say, for the quick viewer."""
    return _reports(request, public_id)


@require_safe
@recipient_page
def share_viewer_reports(request: HttpRequest, link_id: str, public_id: str) -> HttpResponseBase:
    """Return what the reports of a shared series say, for the quick viewer."""
    return _reports(request, public_id)


def _reports(request: HttpRequest, public_id: str) -> HttpResponse:
    series = get_object_or_404(Series.objects.select_related("study__patient"), public_id=public_id)
    authorise_series(request, Capability.STUDY_VIEW, series)
    found = [
        {
            "title": paper.title,
            "items": [{"depth": item.depth, "name": item.name, "value": item.value} for item in paper.items],
        }
        for paper in reports(series)
    ]
    return JsonResponse({"reports": found})


def _open(request: HttpRequest, place: Place, public_id: str, mode: str) -> HttpResponse:
    if mode and mode not in MODES:
        raise Http404
    study = get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.opened")
    if not mode and mode_for(study.modalities) == MICROSCOPY_MODE:
        # Slides are looked at in their own mode alone.
        mode = MICROSCOPY_MODE
    return _full(request, study, place, mode) if mode else _quick(request, study, place)


def _quick(request: HttpRequest, study: Study, place: Place) -> HttpResponse:
    principal = principal_of(request)
    page = quick.shown(principal, study)
    listed = [one for shown in page.studies for one in shown.series]
    documents = _documents(place, study, principal.capabilities)
    if not documents and all(one.kind in ("report", "other") for one in listed):
        if any(content.is_shown for content in contents(study)):
            # Curves, for one: the full viewer draws them.
            return _full(request, study, place, VIEWER_MODE)
        # Reports and plans alone read better as a page.
        told = {
            "study": study,
            "papers": papers(study),
            "home_url": place.home_url,
            "home_label": place.home_label,
            "base": place.base,
        }
        return render(request, "viewer/papers.html", told)
    build = current_quick_build()
    if build is None:
        return render(request, "viewer/not_built.html", status=503)
    if page.first is not None:
        # The page asks for its first picture at once, from two sides: the record that covers both is written here.
        page.first.series.study = study
        authorise_series(request, Capability.STUDY_VIEW, page.first.series)
    configuration = quick.as_json(
        page,
        root=place.dicomweb_root,
        address=place.url(study),
        report_urls={one.row.pk: place.report_url(one.row) for one in listed if one.kind == "report"},
        locale=get_language() or "en",
        words=words(),
    )
    # Saved pictures and films are drawn by the server, for who may download.
    may_take = Capability.STUDY_DOWNLOAD in principal.capabilities
    configuration["take"] = place.take_root if may_take else ""
    context = {
        "configuration": configuration,
        "may_take": may_take,
        "study": study,
        "page": page,
        "documents": documents,
        "root": place.dicomweb_root,
        "full_url": place.mode_url(study, VIEWER_MODE),
        "home_url": place.home_url,
        "home_label": place.home_label,
        "watermark": principal.watermark,
    }
    return _quick_page(request, build, context)


def _documents(place: Place, study: Study, capabilities: frozenset[Capability]) -> list[dict[str, Any]]:
    """Return the clinical documents beside the images, for who may have them: they leave as files to keep."""
    if Capability.STUDY_DOWNLOAD not in capabilities and place.document_page != "document":
        return []
    rows = Document.objects.filter(study=study).order_by("created_at", "pk")
    return [
        {
            "title": row.title,
            "readable_type": row.readable_type,
            "url": reverse(place.document_page, args=[*place.arguments, row.public_id]),
        }
        for row in rows
    ]


@_quick_policy
def _quick_page(request: HttpRequest, build: QuickBuild, context: dict[str, Any]) -> HttpResponse:
    return render(request, "viewer/quick.html", context | {"build": build})


def _full(request: HttpRequest, study: Study, place: Place, mode: str) -> HttpResponse:
    build = current_build()
    if build is None:
        return render(request, "viewer/not_built.html", status=503)
    prior = None if mode == MICROSCOPY_MODE else quick.nearest_prior(principal_of(request), study)
    comparison = urlencode({"hangingProtocolId": COMPARISON})
    configuration = Configuration(
        assets_url=build.base_url,
        base_path=place.url(study).rstrip("/"),
        mode=mode,
        dicomweb_root=place.dicomweb_root,
        study_instance_uid=study.study_instance_uid,
        prior_study_instance_uid=prior.study_instance_uid if prior else "",
        series_instance_uid=first_series(contents(study)),
        home_url=place.home_url,
        home_label=place.home_label,
        quick_url="" if mode == MICROSCOPY_MODE else place.url(study),
        quick_label=_("Quick viewer"),
        compare_url=f"{place.mode_url(study, mode)}?{comparison}" if prior else "",
        compare_label=_("Compare with earlier"),
        title=request.clinic.name,  # type: ignore[attr-defined]
        logo_url=static("img/logo.svg"),
    )
    return _viewer_page(request, build, configuration)


@_viewer_policy
def _viewer_page(request: HttpRequest, build: Build, configuration: Configuration) -> HttpResponse:
    return render(request, "viewer/ohif.html", {"build": build, "configuration": configuration.as_json()})
