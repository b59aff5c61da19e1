"""The viewer's page, for members of a clinic and for who holds a share link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.sharing.services import recipient_page
from apps.studies.models import Study
from apps.viewer.assets import Build, current_build
from apps.viewer.configuration import MODES, Configuration, mode_for
from apps.viewer.queries import contents, first_series, papers

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
Page = Callable[[HttpRequest, Build, Configuration], HttpResponse]
_viewer_policy = cast("Callable[[Page], Page]", csp(VIEWER_POLICY))


@require_safe
def viewer(request: HttpRequest, clinic_slug: str, public_id: str, mode: str = "") -> HttpResponse:
    """Open a study of the clinic in the viewer."""
    study = _study(public_id)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.opened")
    return _render(
        request,
        study,
        mode,
        base_path=reverse("viewer", args=[clinic_slug, public_id]),
        dicomweb_root=f"/c/{clinic_slug}/dicomweb",
        home_url=reverse("study", args=[clinic_slug, public_id]),
        home_label=_("Back to the study"),
        base="base.html",
    )


@require_safe
@recipient_page
def share_viewer(request: HttpRequest, link_id: str, public_id: str, mode: str = "") -> HttpResponseBase:
    """Open a study of a share link in the viewer."""
    study = _study(public_id)
    authorise(request, Capability.STUDY_VIEW, study, verb="study.opened")
    return _render(
        request,
        study,
        mode,
        base_path=reverse("share-viewer", args=[link_id, public_id]),
        dicomweb_root=f"/v/{link_id}/dicomweb",
        home_url=reverse("share-home", args=[link_id]),
        home_label=_("All that was shared"),
        base="base_door.html",
    )


def _study(public_id: str) -> Study:
    return get_object_or_404(Study.objects.select_related("patient"), public_id=public_id)


def _render(
    request: HttpRequest,
    study: Study,
    mode: str,
    *,
    base_path: str,
    dicomweb_root: str,
    home_url: str,
    home_label: str,
    base: str,
) -> HttpResponse:
    if mode and mode not in MODES:
        raise Http404
    found = contents(study)
    if not mode and not any(content.is_shown for content in found):
        # Reports and plans alone: the viewer has nothing to lay them over, and would stay black.
        page = {"study": study, "papers": papers(study), "home_url": home_url, "home_label": home_label, "base": base}
        return render(request, "viewer/papers.html", page)
    build = current_build()
    if build is None:
        return render(request, "viewer/not_built.html", status=503)
    configuration = Configuration(
        assets_url=build.base_url,
        base_path=base_path.rstrip("/"),
        mode=mode or mode_for(study.modalities),
        dicomweb_root=dicomweb_root,
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=first_series(found),
        home_url=home_url,
        home_label=home_label,
        title=request.clinic.name,  # type: ignore[attr-defined]
        logo_url=static("img/logo.svg"),
    )
    return _viewer_page(request, build, configuration)


@_viewer_policy
def _viewer_page(request: HttpRequest, build: Build, configuration: Configuration) -> HttpResponse:
    return render(request, "viewer/ohif.html", {"build": build, "configuration": configuration.as_json()})
