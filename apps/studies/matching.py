"""What a search asks for, as conditions on the index (PS3.4 C.2.2.2, PS3.18 8.3.4).

The same criteria serve the worklist and QIDO-RS. `at` is the path from the searched model to the study or series:
"" for a search for studies, "study__" for series, "series__study__" for instances.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Final

from django.db.models import Q

from apps.patients.naming import fold_name, spelled_words
from apps.studies.lookups import has_wildcard
from apps.studies.models import StudyTerm

# Both ends included, None where open.
DateRange = tuple[datetime.date | None, datetime.date | None]
TimeRange = tuple[datetime.time | None, datetime.time | None]
MAX_WORDS: Final = 8


@dataclass(frozen=True)
class StudyCriteria:
    """What a study has to be like; all of it at once. Several patterns of one attribute are alternatives.

    `words` is what somebody typed: each word begins a word of the name, the PatientID or the accession number.
    Patterns may hold `*` and `?`. With `is_fuzzy`, names match by the beginnings of their words, in any order.
    """

    words: str = ""
    patient_name: Sequence[str] = ()
    is_fuzzy: bool = False
    dicom_patient_id: Sequence[str] = ()
    issuer_of_patient_id: Sequence[str] = ()
    patient_birth_date: DateRange | None = None
    patient_sex: Sequence[str] = ()
    study_instance_uid: Sequence[str] = ()
    study_date: DateRange | None = None
    study_time: TimeRange | None = None
    study_id: Sequence[str] = ()
    accession_number: Sequence[str] = ()
    study_description: Sequence[str] = ()
    referring_physician_name: Sequence[str] = ()
    modalities_in_study: Sequence[str] = ()
    number_of_study_related_series: int | None = None
    number_of_study_related_instances: int | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether an index of what is asked for leads to the few studies that match: they are sorted once found."""
        begun = (self.dicom_patient_id, self.accession_number, self.patient_name)
        return bool(self.words or self.study_instance_uid) or any(
            patterns and not any(has_wildcard(pattern[:1]) for pattern in patterns) for patterns in begun
        )

    def condition(self, at: str = "") -> Q:
        """Return the condition on a model from which `at` leads to the study."""
        exact = {
            "number_of_study_related_series": self.number_of_study_related_series,
            "number_of_study_related_instances": self.number_of_study_related_instances,
        }
        return (
            words_begin(f"{at}pk", self.words)
            & person_name(at, self.patient_name, is_fuzzy=self.is_fuzzy)
            & text(f"{at}dicom_patient_id", self.dicom_patient_id)
            & text(f"{at}patient__issuer_of_patient_id", self.issuer_of_patient_id)
            & between(f"{at}patient__patient_birth_date", self.patient_birth_date)
            & text(f"{at}patient__patient_sex", self.patient_sex)
            & one_of(f"{at}study_instance_uid", self.study_instance_uid)
            & _listed_between(at, self.study_date)
            & between(f"{at}study_time", self.study_time)
            & text(f"{at}study_id", self.study_id)
            & text(f"{at}accession_number", self.accession_number)
            & any_case_text(f"{at}study_description", self.study_description)
            & any_case_text(f"{at}referring_physician_name", self.referring_physician_name)
            & one_value(f"{at}modalities_in_study", self.modalities_in_study)
            & Q(**{f"{at}{name}": value for name, value in exact.items() if value is not None})
        )


@dataclass(frozen=True)
class SeriesCriteria:
    """What a series has to be like."""

    series_instance_uid: Sequence[str] = ()
    modality: Sequence[str] = ()
    series_description: Sequence[str] = ()
    body_part_examined: Sequence[str] = ()
    series_number: int | None = None
    series_date: DateRange | None = None
    series_time: TimeRange | None = None
    number_of_series_related_instances: int | None = None

    def condition(self, at: str = "") -> Q:
        """Return the condition on a model from which `at` leads to the series."""
        exact = {
            "series_number": self.series_number,
            "number_of_series_related_instances": self.number_of_series_related_instances,
        }
        return (
            one_of(f"{at}series_instance_uid", self.series_instance_uid)
            & text(f"{at}modality", self.modality)
            & any_case_text(f"{at}series_description", self.series_description)
            & text(f"{at}body_part_examined", self.body_part_examined)
            & between(f"{at}series_date", self.series_date)
            & between(f"{at}series_time", self.series_time)
            & Q(**{f"{at}{name}": value for name, value in exact.items() if value is not None})
        )


@dataclass(frozen=True)
class InstanceCriteria:
    """What an instance has to be like."""

    sop_instance_uid: Sequence[str] = ()
    sop_class_uid: Sequence[str] = ()
    instance_number: int | None = None
    number_of_frames: int | None = None
    rows: int | None = None
    columns: int | None = None

    def condition(self) -> Q:
        """Return the condition on an instance."""
        exact = {
            "instance_number": self.instance_number,
            "number_of_frames": self.number_of_frames,
            "rows": self.rows,
            "columns": self.columns,
        }
        return (
            one_of("sop_instance_uid", self.sop_instance_uid)
            & one_of("sop_class_uid", self.sop_class_uid)
            & Q(**{name: value for name, value in exact.items() if value is not None})
        )


def words_begin(path: str, typed: str) -> Q:
    """Match studies that have, for each typed word, a term that begins with it; wild cards within words work too."""
    condition = Q()
    for spellings in spelled_words(typed)[:MAX_WORDS]:
        found = StudyTerm.objects.filter(_any(Q(term__wildcard=f"{spelling}*") for spelling in spellings))
        condition &= Q(**{f"{path}__in": found.values("study_id")})
    return condition


def person_name(at: str, patterns: Sequence[str], *, is_fuzzy: bool) -> Q:
    """Match PatientName without regard to case and diacritics (PS3.18 8.3.4.2 for `is_fuzzy`)."""
    if not patterns:
        return Q()
    if is_fuzzy:
        return _any(words_begin(f"{at}pk", pattern) for pattern in patterns)
    path = f"{at}patient_name_folded"
    conditions = []
    for pattern in patterns:
        folded = fold_name(pattern)
        conditions.append(text(path, [folded]))
        if "=" not in folded and not has_wildcard(folded[-1:]):
            # The pattern speaks of the first group alone; ideographic and phonetic ones may follow.
            conditions.append(Q(**{f"{path}__wildcard": f"{folded}=*"}))
        if not folded.isascii():
            # A name in its own script may stand in any group.
            conditions.append(Q(**{f"{path}__wildcard": f"*={folded}*"}))
    return _any(conditions)


def text(path: str, patterns: Sequence[str]) -> Q:
    """Match a text exactly, or by wild cards where the pattern has some."""
    if not patterns:
        return Q()
    exact = [pattern for pattern in patterns if not has_wildcard(pattern)]
    conditions = [Q(**{f"{path}__wildcard": pattern}) for pattern in patterns if has_wildcard(pattern)]
    return _any([*conditions, one_of(path, exact)] if exact else conditions)


def any_case_text(path: str, patterns: Sequence[str]) -> Q:
    """Match a text that people typed, without regard to case."""
    return _any(Q(**{f"{path}__any_case_wildcard": pattern}) for pattern in patterns)


def one_value(path: str, patterns: Sequence[str]) -> Q:
    """Match an attribute of several values, kept in one column divided by backslashes: one of them has to match."""
    arounds = ("{}", "{}\\*", "*\\{}", "*\\{}\\*")
    return _any(Q(**{f"{path}__wildcard": around.format(pattern)}) for pattern in patterns for around in arounds)


def one_of(path: str, values: Sequence[str]) -> Q:
    """Match exactly one of the values; no values ask for nothing."""
    if not values:
        return Q()
    return Q(**{path: values[0]}) if len(values) == 1 else Q(**{f"{path}__in": list(values)})


def between(path: str, ends: tuple[Any, Any] | None) -> Q:
    """Match a range, both ends included; what has no value is in no range."""
    if ends is None:
        return Q()
    first, last = ends
    condition = Q(**{f"{path}__isnull": False})
    if first is not None:
        condition &= Q(**{f"{path}__gte": first})
    if last is not None:
        condition &= Q(**{f"{path}__lte": last})
    return condition


def _listed_between(at: str, ends: DateRange | None) -> Q:
    """Match StudyDate, and say it of `listed_at` too, which is the first column of the index."""
    condition = between(f"{at}study_date", ends)
    if ends is not None:
        first, last = ends
        if first is not None:
            condition &= Q(**{f"{at}listed_at__gte": _midnight(first)})
        if last is not None and last < datetime.date.max:
            condition &= Q(**{f"{at}listed_at__lt": _midnight(last + datetime.timedelta(days=1))})
    return condition


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time.min, tzinfo=datetime.UTC)


def _any(conditions: Any) -> Q:
    alternatives = list(conditions)
    return reduce(or_, alternatives) if alternatives else Q()
