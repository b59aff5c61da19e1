"""A parsed search, asked of the index: the same criteria that serve the worklist, within what the principal may see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from apps.access.services import Principal
from apps.dicomweb.parameters import (
    ATTRIBUTE_OF_TAG,
    DateMatch,
    Level,
    Match,
    NumberMatch,
    Search,
    TextMatch,
    TimeMatch,
    UidMatch,
)
from apps.studies import services as studies
from apps.studies.models import Instance, Series, Study
from apps.studies.services import InstanceCriteria, SeriesCriteria, StudyCriteria

Row = TypeVar("Row")

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Found(Generic[Row]):
    """One page of results, and whether more exist behind it."""

    rows: list[Row]
    has_more: bool


@dataclass(frozen=True)
class _Criteria:
    study: StudyCriteria
    series: SeriesCriteria
    instance: InstanceCriteria


def search_studies(principal: Principal, search: Search, columns: Sequence[str]) -> Found[tuple[Any, ...]]:
    """Return the studies that match, the newest first, each as the values of `columns`."""
    criteria = _criteria(search).study
    return _page(
        search, studies.search_rows(principal, criteria, columns, limit=search.limit + 1, offset=search.offset)
    )


def search_series(principal: Principal, search: Search, study: Study | None) -> Found[Series]:
    """Return the series that match, of one study or of all; whether the principal may see that study, `access` asks."""
    if study is not None and not search.matches:
        # What every viewer asks first: no more than the study's own rows.
        ordered = Series.objects.filter(study=study).order_by("series_number", "pk")
        found = list(ordered[search.offset : search.offset + search.limit + 1])
        for series in found:
            series.study = study
        return _page(search, found)
    criteria = _within(_criteria(search), study, None)
    rows = studies.search_series(
        principal, criteria.study, criteria.series, limit=search.limit + 1, offset=search.offset
    )
    return _page(search, rows)


def search_instances(
    principal: Principal, search: Search, study: Study | None, series: Series | None
) -> Found[Instance]:
    """Return the instances that match, of one series, of one study or of all."""
    criteria = _within(_criteria(search), study, series)
    rows = studies.search_instances(
        principal,
        criteria.study,
        criteria.series,
        criteria.instance,
        limit=search.limit + 1,
        offset=search.offset,
    )
    return _page(search, rows)


def _page(search: Search, rows: list[Row]) -> Found[Row]:
    return Found(rows[: search.limit], len(rows) > search.limit)


def _within(criteria: _Criteria, study: Study | None, series: Series | None) -> _Criteria:
    """Narrow to what the URL names; a UID filter beside it has to agree with it."""
    if study is not None:
        criteria = replace(
            criteria,
            study=replace(
                criteria.study,
                study_instance_uid=_both(criteria.study.study_instance_uid, study.study_instance_uid),
            ),
        )
    if series is not None:
        criteria = replace(
            criteria,
            series=replace(
                criteria.series,
                series_instance_uid=_both(criteria.series.series_instance_uid, series.series_instance_uid),
            ),
        )
    return criteria


def _both(asked: Any, named: str) -> tuple[str, ...]:
    # No UID is empty: asking for it finds nothing.
    return (named,) if not asked or named in asked else ("",)


def _criteria(search: Search) -> _Criteria:
    values: dict[Level, dict[str, Any]] = {level: {} for level in Level}
    for tag, match in search.matches.items():
        attribute = ATTRIBUTE_OF_TAG[tag]
        values[attribute.level][_criterion_of(attribute.keyword)] = _value(match)
    return _Criteria(
        StudyCriteria(is_fuzzy=search.is_fuzzy, **values[Level.STUDY]),
        SeriesCriteria(**values[Level.SERIES]),
        InstanceCriteria(**values[Level.INSTANCE]),
    )


def _criterion_of(keyword: str) -> str:
    """Return the name of a criterion: the keyword in snake case, and PatientID's exception."""
    return "dicom_patient_id" if keyword == "PatientID" else _WORDS.sub("_", keyword).lower()


def _value(match: Match) -> Any:
    match match:
        case TextMatch():
            return match.patterns
        case UidMatch():
            return match.uids
        case NumberMatch():
            return match.value
        case DateMatch() | TimeMatch():
            return (match.first, match.last)
