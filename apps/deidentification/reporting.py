"""The proof: what rule touched which element, counted over a study; never a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_HEAD: Final = ("profile", "options", "edition", "software", "key_fingerprint")


def merged(content: Mapping[str, Any], reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report of a study with those of further instances added (`apps.dicom.deidentify.Report.as_dict`)."""
    total: dict[str, Any] = dict(content)
    changes = {(row["element"], row["did"]): dict(row) for row in total.get("changes", ())}
    codes = {code["code"]: code for code in total.get("method_codes", ())}
    pixels = dict(total.get("pixels", {}))
    warnings = set(total.get("warnings", ()))
    for report in reports:
        for key in _HEAD:
            total.setdefault(key, report[key])
        codes |= {code["code"]: code for code in report["method_codes"]}
        for row in report["changes"]:
            known = changes.setdefault((row["element"], row["did"]), {**row, "count": 0, "instances": 0})
            known["count"] += row["count"]
            known["instances"] += 1
        pixels[report["pixels"]] = pixels.get(report["pixels"], 0) + 1
        warnings |= set(report["warnings"])
        total["instances"] = total.get("instances", 0) + 1
        total["pixel_regions"] = total.get("pixel_regions", 0) + report["pixel_regions"]
        total["residue"] = total.get("residue", 0) + report["residue"]
    total["changes"] = [changes[key] for key in sorted(changes)]
    total["method_codes"] = [codes[key] for key in sorted(codes)]
    total["pixels"], total["warnings"] = pixels, sorted(warnings)
    return total
