"""QIDO-RS: search for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from apps.access.services import authorise
from apps.accounts.roles import Capability
from apps.dicomweb import metadata, queries
from apps.dicomweb.errors import NotAcceptableError
from apps.dicomweb.lookups import find_series, find_study
from apps.dicomweb.negotiation import APPLICATION_DICOM_JSON, choose
from apps.dicomweb.parameters import MAX_RESULTS, Level, Search, parse_search
from apps.dicomweb.responses import Caller, accepted_by, dicom_json, multipart
from apps.dicomweb.results import DicomJson, ResultWriter
from apps.studies.models import Series, Study

# Above this many series, attributes that only their metadata holds are left out of a search.
MAX_METADATA_READS = 100


def search_for_studies(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Return the studies that match, as far as the principal may see them."""
    search = parse_search(Level.STUDY, request.GET)
    media_type = _media_type(request)
    writer = ResultWriter(search, caller.root)
    found = queries.search_studies(caller.principal, search, writer.study_columns)
    _record(request, search, None, len(found.rows))
    return _answer([writer.study(study) for study in found.rows], media_type, search, has_more=found.has_more)


def search_for_series(request: HttpRequest, caller: Caller, study_instance_uid: str = "") -> HttpResponse:
    """Return the series that match, of one study or of all."""
    search = parse_search(Level.SERIES, request.GET)
    media_type = _media_type(request)
    study = find_study(study_instance_uid) if study_instance_uid else None
    found = queries.search_series(caller.principal, search, study)
    _record(request, search, study, len(found.rows))
    writer = ResultWriter(search, caller.root, context=() if study else (Level.STUDY,))
    results = [writer.series(series) for series in found.rows]
    if study is not None and metadata.is_needed(search):
        for series, result in zip(found.rows[:MAX_METADATA_READS], results, strict=False):
            metadata.complete_series(search, series, result)
    return _answer(results, media_type, search, has_more=found.has_more)


def search_for_instances(
    request: HttpRequest, caller: Caller, study_instance_uid: str = "", series_instance_uid: str = ""
) -> HttpResponse:
    """Return the instances that match, of one series, of one study or of all."""
    search = parse_search(Level.INSTANCE, request.GET)
    media_type = _media_type(request)
    series = find_series(study_instance_uid, series_instance_uid) if series_instance_uid else None
    study = series.study if series else find_study(study_instance_uid) if study_instance_uid else None
    found = queries.search_instances(caller.principal, search, study, series)
    _record(request, search, series or study, len(found.rows))
    writer = ResultWriter(
        search,
        caller.root,
        context=[level for level, known in ((Level.STUDY, study), (Level.SERIES, series)) if known is None],
    )
    results = [writer.instance(instance) for instance in found.rows]
    if study is not None and metadata.is_needed(search):
        metadata.complete_instances(search, found.rows, results, caller.root, max_reads=MAX_METADATA_READS)
    return _answer(results, media_type, search, has_more=found.has_more)


def find_nothing(request: HttpRequest, caller: Caller, rest: str) -> HttpResponse:
    """Answer for paths that are no resource of DICOMweb."""
    raise Http404


_MULTIPART_JSON = "multipart/related"


def _media_type(request: HttpRequest) -> str:
    ranges = accepted_by(request)
    for media_range in ranges:
        if media_range.media_type == _MULTIPART_JSON and media_range.part_type == APPLICATION_DICOM_JSON:
            return _MULTIPART_JSON
        if found := choose([media_range], [APPLICATION_DICOM_JSON, "application/json"]):
            return found
    raise NotAcceptableError("Search results are given as application/dicom+json.")


def _record(request: HttpRequest, search: Search, within: Study | Series | None, result_count: int) -> None:
    details: dict[str, Any] = {
        "source": "dicomweb",
        "level": search.level.value,
        "fields": [keyword.lower() for keyword in search.matched_keywords],
        "result_count": result_count,
    }
    authorise(request, Capability.STUDY_SEARCH, within, verb="study.searched", details=details)


def _answer(results: Sequence[DicomJson], media_type: str, search: Search, *, has_more: bool) -> HttpResponse:
    if media_type == _MULTIPART_JSON:
        parts = [(APPLICATION_DICOM_JSON, dicom_json([result]).content) for result in results]
        response = multipart(parts, APPLICATION_DICOM_JSON)
    else:
        response = dicom_json(results, media_type=media_type)
    if has_more:
        # PS3.18 8.3.4.4 wants this warning; the count of what is left is not known and not said.
        response["Warning"] = (
            '299 viewbox "There are additional results that can be requested'
            f' (at most {MAX_RESULTS[search.level]} in one answer)"'
        )
    return response
