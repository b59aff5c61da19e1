"""How an object is named in the audit trail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectReference:
    """How an object is named in the audit trail: random public ids, never what it says."""

    kind: str
    reference: str
    patient_reference: str = ""
    study_reference: str = ""
