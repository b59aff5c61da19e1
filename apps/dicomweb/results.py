"""Rows of the index as DICOM JSON (PS3.18 F.2), with the attributes that a search has to return (10.6.3.3)."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from apps.dicomweb.parameters import ATTRIBUTES, Attribute, Level, Search
from apps.studies.models import Instance, Series, Study

DicomJson = dict[str, dict[str, Any]]

INSTANCE_AVAILABILITY = "00080056"
RETRIEVE_URL = "00081190"


def tags(text: str) -> frozenset[str]:
    """Return the tags listed in a text, each eight hexadecimal digits."""
    return frozenset(text.split())


# Tables 10.6.3-3 to 10.6.3-5: returned whether asked for or not.
_ALWAYS: Mapping[Level, frozenset[str]] = {
    Level.STUDY: tags(
        "00080020 00080030 00080050 00080061 00080090 00100010 00100020 00100030 00100040 0020000D 00200010"
        " 00201206 00201208"
    ),
    Level.SERIES: tags("00080060 0008103E 0020000E 00200011 00201209"),
    Level.INSTANCE: tags("00080016 00080018 00200013 00280008 00280010 00280011 00280100"),
}
_UNIQUE_KEY: Mapping[Level, str] = {
    Level.STUDY: "0020000D",
    Level.SERIES: "0020000E",
    Level.INSTANCE: "00080018",
}


# Where each value stands, as a path from the row of its level.
_COLUMNS: Mapping[str, str] = {
    "00080020": "study_date",
    "00080030": "study_time",
    "00080050": "accession_number",
    "00080061": "modalities_in_study",
    "00080090": "referring_physician_name",
    "00081030": "study_description",
    "00100010": "patient__patient_name",
    "00100020": "patient__dicom_patient_id",
    "00100021": "patient__issuer_of_patient_id",
    "00100030": "patient__patient_birth_date",
    "00100040": "patient__patient_sex",
    "0020000D": "study_instance_uid",
    "00200010": "study_id",
    "00201206": "number_of_study_related_series",
    "00201208": "number_of_study_related_instances",
    "00080021": "series_date",
    "00080031": "series_time",
    "00080060": "modality",
    "0008103E": "series_description",
    "00180015": "body_part_examined",
    "0020000E": "series_instance_uid",
    "00200011": "series_number",
    "00201209": "number_of_series_related_instances",
    "00080016": "sop_class_uid",
    "00080018": "sop_instance_uid",
    "00200013": "instance_number",
    "00280008": "number_of_frames",
    "00280010": "rows",
    "00280011": "columns",
    "00280100": "bits_allocated",
}
_VALUES: Mapping[str, Callable[[Any], Any]] = {
    tag: attrgetter(column.replace("__", ".")) for tag, column in _COLUMNS.items()
}


def time_text(time: datetime.time) -> str:
    """Return a TM value: HHMMSS, with the fraction where there is one."""
    text = f"{time.hour:02d}{time.minute:02d}{time.second:02d}"
    return f"{text}.{time.microsecond:06d}" if time.microsecond else text


def person_name(value: str) -> dict[str, str]:
    """Return a PN value as DICOM JSON: its groups by name, empty ones left out (PS3.18 F.2.2)."""
    names = ("Alphabetic", "Ideographic", "Phonetic")
    return {name: group for name, group in zip(names, value.split("="), strict=False) if group}


# Of several values, divided by backslashes in their column.
_MODALITIES_IN_STUDY = "00080061"


def element(vr: str, value: Any, tag: str = "") -> dict[str, Any]:
    """Return one attribute as DICOM JSON; nothing is said with no `Value` at all."""
    if value is None or value == "":
        return {"vr": vr}
    if tag == _MODALITIES_IN_STUDY:
        return {"vr": vr, "Value": [one for one in value.split("\\") if one]}
    if vr == "PN":
        value = person_name(value)
    elif vr == "DA":
        value = f"{value.year:04d}{value.month:02d}{value.day:02d}"
    elif vr == "TM":
        value = time_text(value)
    return {"vr": vr, "Value": [value]}


@functools.lru_cache(maxsize=256)
def _chosen(
    level: Level, context: frozenset[Level], wanted: frozenset[str], *, is_all: bool
) -> Mapping[Level, Sequence[Attribute]]:
    """Return which attributes of each level go into a result; clients ask for the same few again and again."""
    levels = {level, *context}
    chosen: dict[Level, list[Attribute]] = {one: [] for one in Level}
    for attribute in ATTRIBUTES:
        is_required = attribute.level in levels and attribute.tag in _ALWAYS[attribute.level]
        is_key = attribute.level.depth <= level.depth and attribute.tag == _UNIQUE_KEY[attribute.level]
        is_included = attribute.tag in wanted or (is_all and attribute.level in levels)
        if is_required or is_key or (is_included and attribute.level.depth <= level.depth):
            chosen[attribute.level].append(attribute)
    return chosen


class ResultWriter:
    """Writes rows as the results of one search; which attributes go in is worked out once."""

    def __init__(self, search: Search, root: str, *, context: Iterable[Level] = ()) -> None:
        """Prepare for a search under the DICOMweb root `root` (a URL or an absolute path without a slash at its end).

        `context`: the levels above, whose required attributes come along (a search across studies or series).
        """
        self._root = root
        self._level = search.level
        wanted = search.include_tags | search.matches.keys()
        self._chosen = _chosen(search.level, frozenset(context), frozenset(wanted), is_all=search.is_all_included)

    @property
    def study_columns(self) -> list[str]:
        """The columns of a study that `study` wants to have."""
        return [_COLUMNS[attribute.tag] for attribute in self._chosen[Level.STUDY]]

    def study(self, row: Sequence[Any]) -> DicomJson:
        """Return a study found, given as the values of `study_columns`."""
        found = {
            attribute.tag: element(attribute.vr, value, attribute.tag)
            for attribute, value in zip(self._chosen[Level.STUDY], row, strict=True)
        }
        return self._finish(found, f"/studies/{found[_UNIQUE_KEY[Level.STUDY]]['Value'][0]}")

    def series(self, series: Series) -> DicomJson:
        """Return a series found; its study has to be loaded with it."""
        found = self._rows(Level.STUDY, series.study) | self._rows(Level.SERIES, series)
        return self._finish(found, f"/studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}")

    def instance(self, instance: Instance) -> DicomJson:
        """Return an instance found; its series and study have to be loaded with it."""
        series = instance.series
        found = (
            self._rows(Level.STUDY, series.study)
            | self._rows(Level.SERIES, series)
            | self._rows(Level.INSTANCE, instance)
        )
        return self._finish(
            found,
            f"/studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}"
            f"/instances/{instance.sop_instance_uid}",
        )

    def _rows(self, level: Level, row: Study | Series | Instance) -> DicomJson:
        found: DicomJson = {}
        for attribute in self._chosen[level]:
            value = _VALUES[attribute.tag](row)
            if level is Level.INSTANCE and not value and attribute.tag.startswith("0028"):
                continue  # rows, columns and frames belong to images only
            found[attribute.tag] = element(attribute.vr, value, attribute.tag)
        return found

    def _finish(self, found: DicomJson, path: str) -> DicomJson:
        found[INSTANCE_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        found[RETRIEVE_URL] = {"vr": "UR", "Value": [self._root + path]}
        # DICOM JSON objects are ordered by tag (PS3.18 F.2.2).
        return dict(sorted(found.items()))
