"""What was done to an instance, without any value it had."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

SOFTWARE: Final = "Viewbox 1"
"""Named in every report and in DeidentificationMethod."""


class Did(StrEnum):
    """What happened to an element."""

    REMOVED = "removed"
    EMPTIED = "emptied"
    REPLACED = "replaced"
    MAPPED = "mapped"
    CLEANED = "cleaned"
    SHIFTED = "shifted"
    CAPPED = "capped"
    BLANKED = "blanked"


@dataclass(slots=True)
class Report:
    """The proof for one instance. Tags are paths such as ``00400275/00400007``; old values never appear."""

    profile: str
    options: tuple[str, ...]
    edition: str
    software: str
    key_fingerprint: str
    method_codes: list[tuple[str, str]] = field(default_factory=list)
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often what was done to which element."""
    pixels: str = "none"
    """``none``, ``unchanged`` (nobody looked), ``exempt`` (measured or computed, so without text), ``checked`` (looked
    at, nothing found) or ``cleaned``."""
    pixel_regions: int = 0
    high_bits_masked: bool = False
    codestream_places: int = 0
    residue: int = 0
    """Hits of the residue scan over the finished file; anything but 0 is refused, so a released one has 0."""
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "profile": self.profile,
            "options": list(self.options),
            "edition": self.edition,
            "software": self.software,
            "key_fingerprint": self.key_fingerprint,
            "method_codes": [{"code": code, "meaning": meaning} for code, meaning in self.method_codes],
            "sop_class_uid": self.sop_class_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "series_instance_uid": self.series_instance_uid,
            "study_instance_uid": self.study_instance_uid,
            "modality": self.modality,
            "changes": [
                {"element": path, "keyword": keyword_of_path(path), "did": did, "count": count}
                for (path, did), count in sorted(self.changes.items())
            ],
            "pixels": self.pixels,
            "pixel_regions": self.pixel_regions,
            "high_bits_masked": self.high_bits_masked,
            "codestream_places": self.codestream_places,
            "residue": self.residue,
            "warnings": list(self.warnings),
        }


def keyword_of_path(path: str) -> str:
    """Return the keyword of the last element of a path; '' for private ones and places that are no element."""
    last = path.rsplit("/", 1)[-1]
    try:
        return str(keyword_for_tag(int(last, 16)))
    except ValueError:
        return ""


def merge_reports(reports: list[Report]) -> dict[str, Any]:
    """Return the report of a study or a folder: what was done to which element in how many instances."""
    changes: Counter[tuple[str, str]] = Counter()
    instances: Counter[tuple[str, str]] = Counter()
    for report in reports:
        changes.update(report.changes)
        instances.update(report.changes.keys())
    first = reports[0].as_dict() if reports else {}
    return {
        **{key: first.get(key) for key in ("profile", "options", "edition", "software", "key_fingerprint")},
        "instances": len(reports),
        "method_codes": sorted({code for report in reports for code in report.method_codes}),
        "changes": [
            {
                "element": path,
                "keyword": keyword_of_path(path),
                "did": did,
                "count": changes[path, did],
                "instances": count,
            }
            for (path, did), count in sorted(instances.items())
        ],
        "pixels": dict(Counter(report.pixels for report in reports)),
        "pixel_regions": sum(report.pixel_regions for report in reports),
        "residue": sum(report.residue for report in reports),
        "warnings": sorted({warning for report in reports for warning in report.warnings}),
    }
