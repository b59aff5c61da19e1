"""A structured report as lines (PS3.3 C.17.3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from apps.dicom.parse import parse_header
from apps.dicom.report import MAX_ITEMS, ReportItem, report_items


def code(meaning: str, value: str = "1") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return [item]


def content(value_type: str, name: str, **values: object) -> Dataset:
    item = Dataset()
    item.ValueType, item.ConceptNameCodeSequence = value_type, code(name)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def test_lines_stand_as_deep_as_they_are_nested() -> None:
    unit, measured = Dataset(), Dataset()
    unit.CodeValue, unit.CodeMeaning = "mm", "millimeter"
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "12.5", [unit]
    section = content(
        "CONTAINER",
        "Findings",
        ContentSequence=[
            content("TEXT", "Finding", TextValue="A mass"),
            content("NUM", "Diameter", MeasuredValueSequence=[measured]),
            content("CODE", "Site", ConceptCodeSequence=code("Liver")),
            content("PNAME", "Observer", PersonName="Roe^Jane"),
        ],
    )
    report = content("CONTAINER", "Report", ContentSequence=[section])
    assert report_items(report) == [
        ReportItem(0, "Report", "", "CONTAINER"),
        ReportItem(1, "Findings", "", "CONTAINER"),
        ReportItem(2, "Finding", "A mass", "TEXT"),
        ReportItem(2, "Diameter", "12.5 mm", "NUM"),
        ReportItem(2, "Site", "Liver", "CODE"),
        ReportItem(2, "Observer", "Roe^Jane", "PNAME"),
    ]


def test_malformed_items_are_left_out() -> None:
    nothing, odd = Dataset(), Dataset()
    odd.ValueType = "NUM"
    report = content("CONTAINER", "Report", ContentSequence=[nothing, odd])
    assert report_items(report) == [ReportItem(0, "Report", "", "CONTAINER")]
    assert report_items(Dataset()) == []


def test_a_log_of_measurements_is_cut() -> None:
    lines = [content("TEXT", "Line", TextValue="x") for _ in range(MAX_ITEMS + 10)]
    assert len(report_items(content("CONTAINER", "Report", ContentSequence=lines))) == MAX_ITEMS


@pytest.mark.samples
def test_sample_reports_say_something(samples: Path) -> None:
    for path in sorted((samples / "08-sr").iterdir()):
        with path.open("rb") as file:
            items = report_items(parse_header(file).dataset)
        assert sum(bool(item.value) for item in items) > 2, path.name
