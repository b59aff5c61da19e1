"""Searching the index: what a principal may see, matched, ordered, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from django.db.models import F, Q, QuerySet
from django.db.models.expressions import OrderBy

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.audit.services import COVER_SECONDS
from apps.patients.models import Patient
from apps.studies.lookups import InNoIndex
from apps.studies.matching import InstanceCriteria, SeriesCriteria, StudyCriteria, one_of
from apps.studies.models import Document, Instance, Series, Study

__all__ = [
    "InstanceCriteria",
    "Order",
    "SeriesCriteria",
    "StudyCriteria",
    "StudyPage",
    "count",
    "search",
    "search_instances",
    "search_page",
    "search_rows",
    "search_series",
    "series_of",
    "viewings_of",
    "visible",
]

# Beyond this a page says "more than": nobody pages through it, and counting it costs more than searching.
COUNT_CAP: Final = 1000
_ONE_VISIT: Final = timedelta(seconds=COVER_SECONDS)
_VIEWINGS: Final = (
    "study.viewed",
    "study.opened",
    "study.downloaded",
    "series.viewed",
    "series.downloaded",
    "instance.viewed",
    "instance.downloaded",
    "document.viewed",
    "link.opened",
)


class Order(Enum):
    """How found studies are ordered; each is an index read in one direction."""

    NEWEST = "-date"
    OLDEST = "date"
    NAME = "name"
    NAME_DOWN = "-name"
    PATIENT_ID = "id"
    PATIENT_ID_DOWN = "-id"
    ARRIVAL = "-arrival"
    ARRIVAL_UP = "arrival"

    @property
    def column(self) -> str:
        """The column to sort by."""
        return {
            "date": "listed_at",
            "name": "patient_name_folded",
            "id": "dicom_patient_id",
            "arrival": "created_at",
        }[self.value.lstrip("-")]

    @property
    def is_descending(self) -> bool:
        """Whether the last comes first."""
        return self.value.startswith("-")

    def expressions(self, *, is_index_read: bool) -> list[OrderBy]:
        """Return what to sort by; the row number settles ties, so that pages neither repeat nor skip a study.

        `is_index_read`: the rows are found by reading the index of this order, else they are sorted once found.
        """
        column = F(self.column) if is_index_read else InNoIndex(self.column)
        return [OrderBy(one, descending=self.is_descending) for one in (column, F("pk"))]


@dataclass(frozen=True)
class StudyPage:
    """One page of found studies; `total` stops at `COUNT_CAP`, then `is_more` is true."""

    studies: list[Study]
    has_next: bool
    total: int
    is_more: bool


def visible(principal: Principal, at: str = "") -> Q:
    """Return the condition for what the principal may see; `at` leads from the model to its study."""
    studies, patients = principal.study_references, principal.patient_references
    if studies is None and patients is None:
        return Q()
    condition = Q(pk__in=[])
    if studies is not None:
        condition |= Q(**{f"{at}public_id__in": studies})
    if patients is not None:
        condition |= Q(**{f"{at}patient__public_id__in": patients})
    return condition


def search(
    principal: Principal,
    criteria: StudyCriteria,
    *,
    order: Order = Order.NEWEST,
    limit: int = 50,
    offset: int = 0,
) -> list[Study]:
    """Return one page of studies with their patients; only what the principal may see."""
    return list(_page_of(principal, criteria, order, limit, offset).select_related("patient"))


def search_rows(
    principal: Principal,
    criteria: StudyCriteria,
    columns: Sequence[str],
    *,
    order: Order = Order.NEWEST,
    limit: int = 50,
    offset: int = 0,
) -> list[tuple[Any, ...]]:
    """Return one page of studies as the values of `columns` (paths from a study), without making objects of them."""
    return list(_page_of(principal, criteria, order, limit, offset).values_list(*columns))


def _page_of(principal: Principal, criteria: StudyCriteria, order: Order, limit: int, offset: int) -> QuerySet[Study]:
    # The inner question reads an index alone, however deep the page lies; the outer one fetches that page's rows, by
    # their numbers: it does not name the clinic again, or SQLite would read all of it to look for them.
    found = _matching(principal, criteria).order_by(*order.expressions(is_index_read=not criteria.is_narrow))
    page = found.values("pk")[offset : offset + limit]
    return QuerySet(Study).filter(pk__in=page).order_by(*order.expressions(is_index_read=False))


def count(principal: Principal, criteria: StudyCriteria, *, cap: int = COUNT_CAP) -> int:
    """Return how many studies match, at most `cap`."""
    return _matching(principal, criteria).order_by()[:cap].count()


def search_page(
    principal: Principal, criteria: StudyCriteria, *, order: Order = Order.NEWEST, page: int = 1, size: int = 50
) -> StudyPage:
    """Return page `page` (from 1) for people: the studies, whether there is a next page, and a count up to a cap."""
    studies = search(principal, criteria, order=order, limit=size + 1, offset=(page - 1) * size)
    has_next = len(studies) > size
    if page == 1 and not has_next:
        return StudyPage(studies, has_next=False, total=len(studies), is_more=False)
    total = count(principal, criteria, cap=COUNT_CAP + 1)
    return StudyPage(studies[:size], has_next=has_next, total=min(total, COUNT_CAP), is_more=total > COUNT_CAP)


def search_series(
    principal: Principal,
    study: StudyCriteria,
    series: SeriesCriteria,
    *,
    limit: int = 1000,
    offset: int = 0,
) -> list[Series]:
    """Return series with their studies and patients, by study and number; only what the principal may see."""
    rows = Series.objects.filter(
        visible(principal, "study__") & study.condition("study__") & series.condition()
    ).select_related("study__patient")
    order = ("study_id", "series_number", "pk") if study.study_instance_uid else ("-study_id", "series_number", "pk")
    return list(rows.order_by(*order)[offset : offset + limit])


def search_instances(
    principal: Principal,
    study: StudyCriteria,
    series: SeriesCriteria,
    instance: InstanceCriteria,
    *,
    limit: int = 5000,
    offset: int = 0,
) -> list[Instance]:
    """Return instances with series, study, patient and blob, by series and number; only what the principal may see."""
    rows = Instance.objects.filter(
        visible(principal, "series__study__")
        & study.condition("series__study__")
        & series.condition("series__")
        & instance.condition()
    ).select_related("series__study__patient", "blob")
    return list(rows.order_by("series_id", "instance_number", "pk")[offset : offset + limit])


def series_of(study: Study) -> list[Series]:
    """Return the series of a study in the order of their numbers, those without a number last."""
    rows = Series.objects.filter(study=study, number_of_series_related_instances__gt=0)
    return list(rows.order_by(F("series_number").asc(nulls_last=True), "pk"))


def documents_of(owner: Study | Patient) -> QuerySet[Document]:
    """Return the documents of a study; of a patient, those that belong to no study, with those of who was merged."""
    rows = Document.objects.select_related("created_by", "blob", "instance").order_by("created_at", "pk")
    if isinstance(owner, Study):
        return rows.filter(study=owner)
    return rows.filter(Q(patient=owner) | Q(patient__merged_into=owner))


def viewings_of(study: Study, *, limit: int = 20) -> list[AuditEvent]:
    """Return the newest records of somebody opening or taking away this study or a part of it.

    A page fetches a picture of each series, and each is recorded: what one session looks at within five minutes is
    shown once, by the earliest of its records.
    """
    events = AuditEvent.objects.filter(clinic_id=study.clinic_id, study_reference=study.public_id, verb__in=_VIEWINGS)
    shown: list[AuditEvent] = []
    last_of: dict[tuple[str, ...], int] = {}
    for event in events.order_by("-timestamp", "-pk")[: 20 * limit]:
        is_view = event.verb.endswith((".viewed", ".opened"))
        who = (
            event.actor_kind,
            event.actor_reference,
            event.session_hash,
            event.outcome,
            "" if is_view else event.verb,
        )
        at = last_of.get(who)
        if at is not None and shown[at].timestamp - event.timestamp < _ONE_VISIT:
            shown[at] = event
            continue
        if len(shown) == limit:
            break
        last_of[who] = len(shown)
        shown.append(event)
    return shown


def _matching(principal: Principal, criteria: StudyCriteria) -> QuerySet[Study]:
    studies = Study.objects.filter(visible(principal) & criteria.condition())
    if not criteria.study_instance_uid:
        return studies
    # Found first by their unique key: SQLite would rather read the whole index of dates than sort a thousand rows.
    named = one_of("study_instance_uid", criteria.study_instance_uid)
    return studies.filter(pk__in=list(Study.objects.filter(named).values_list("pk", flat=True)))
