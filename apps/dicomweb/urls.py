"""DICOMweb of a clinic and of a share link; paths as in PS3.18 Tables 10.4.1-1 and 10.6.1-2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.views.decorators.http import require_http_methods

from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.dicomweb.responses import for_clinic, for_link, for_sender
from apps.dicomweb.views import rendered, retrieve, search, store
from apps.ingest.services import sender_page

_STUDY = "studies/<str:study_instance_uid>"
_SERIES = f"{_STUDY}/series/<str:series_instance_uid>"
_INSTANCE = f"{_SERIES}/instances/<str:sop_instance_uid>"
_FRAMES = f"{_INSTANCE}/frames/<str:frames>"

_SEARCH = Capability.STUDY_SEARCH
_VIEW = Capability.STUDY_VIEW

# name, path, view, the right it needs; everything here is read.
RESOURCES: tuple[tuple[str, str, Callable[..., HttpResponseBase], Capability], ...] = (
    ("studies", "studies", search.search_for_studies, _SEARCH),
    ("all-series", "series", search.search_for_series, _SEARCH),
    ("all-instances", "instances", search.search_for_instances, _SEARCH),
    ("study-series", f"{_STUDY}/series", search.search_for_series, _SEARCH),
    ("study-instances", f"{_STUDY}/instances", search.search_for_instances, _SEARCH),
    ("series-instances", f"{_SERIES}/instances", search.search_for_instances, _SEARCH),
    ("study", _STUDY, retrieve.retrieve_study, _VIEW),
    ("series", _SERIES, retrieve.retrieve_series, _VIEW),
    ("instance", _INSTANCE, retrieve.retrieve_instance, _VIEW),
    ("study-metadata", f"{_STUDY}/metadata", retrieve.retrieve_study_metadata, _VIEW),
    ("series-metadata", f"{_SERIES}/metadata", retrieve.retrieve_series_metadata, _VIEW),
    ("instance-metadata", f"{_INSTANCE}/metadata", retrieve.retrieve_instance_metadata, _VIEW),
    ("frames", _FRAMES, retrieve.retrieve_instance_frames, _VIEW),
    ("bulkdata", f"{_INSTANCE}/bulkdata/<path:path>", retrieve.retrieve_bulkdata, _VIEW),
    ("study-rendered", f"{_STUDY}/rendered", rendered.retrieve_study_rendered, _VIEW),
    ("series-rendered", f"{_SERIES}/rendered", rendered.retrieve_series_rendered, _VIEW),
    ("instance-rendered", f"{_INSTANCE}/rendered", rendered.retrieve_instance_rendered, _VIEW),
    ("frames-rendered", f"{_FRAMES}/rendered", rendered.retrieve_frames_rendered, _VIEW),
    ("study-thumbnail", f"{_STUDY}/thumbnail", rendered.retrieve_study_thumbnail, _VIEW),
    ("series-thumbnail", f"{_SERIES}/thumbnail", rendered.retrieve_series_thumbnail, _VIEW),
    ("instance-thumbnail", f"{_INSTANCE}/thumbnail", rendered.retrieve_instance_thumbnail, _VIEW),
    ("frames-thumbnail", f"{_FRAMES}/thumbnail", rendered.retrieve_frames_thumbnail, _VIEW),
)
# Search and store share a URL, so do retrieve and store into a study (PS3.18 Table 10.5.1-1).
_ALSO_STORED = frozenset({"studies", "study"})
_READ = ["GET", "HEAD"]


def _reading_and_storing(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    def by_method(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        chosen = store.store_instances if request.method == "POST" else view
        return chosen(request, *args, **kwargs)

    return by_method


def _patterns() -> Iterator[URLPattern]:
    clinic, link = "c/<slug:clinic_slug>/dicomweb/", "v/<str:link_id>/dicomweb/"
    yield page(
        f"{clinic}stored/<str:batch_id>",
        require_http_methods(_READ)(for_clinic(store.retrieve_store_status)),
        Rule.clinic(Capability.UPLOAD_CREATE, api=True),
        name="dicomweb-store-status",
    )
    for name, path, view, capability in RESOURCES:
        if name in _ALSO_STORED:
            rule = Rule.clinic(capability, api=True, post=Capability.UPLOAD_CREATE)
            reading = require_http_methods([*_READ, "POST"])(for_clinic(_reading_and_storing(view)))
        else:
            rule = Rule.clinic(capability, api=True)
            reading = require_http_methods(_READ)(for_clinic(view))
        yield page(clinic + path, reading, rule, name=f"dicomweb-{name}")
        yield page(link + path, require_http_methods(_READ)(for_link(view)), Rule.link(), name=f"dicomweb-link-{name}")
    # Whoever was asked for images stores them, and that is all.
    yield page(
        "w/<str:link_id>/dicomweb/studies",
        sender_page(require_http_methods(["POST"])(for_sender(store.store_instances))),
        Rule.link(),
        name="request-store",
    )
    # Whatever else is asked for is answered as the rest is: JSON, and not a page.
    yield page(
        f"{clinic}<path:rest>", for_clinic(search.find_nothing), Rule.clinic(_VIEW, api=True), name="dicomweb-rest"
    )
    yield page(f"{link}<path:rest>", for_link(search.find_nothing), Rule.link(), name="dicomweb-link-rest")


urlpatterns = list(_patterns())
