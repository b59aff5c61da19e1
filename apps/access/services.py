"""The only gate to the way out: who may do what to which object, and the record before the first byte."""

from __future__ import annotations

from typing import Any, NoReturn

from django.http import Http404, HttpRequest

from apps.access.principals import Auditable, Principal, import_principal, principal_of
from apps.access.references import ObjectReference
from apps.accounts.roles import Capability
from apps.audit.models import AuditEvent
from apps.audit.services import Outcome, covering_event, record

__all__ = [
    "Auditable",
    "ObjectReference",
    "Principal",
    "authorise",
    "authorise_covered",
    "authorise_series",
    "authorise_thumbnail",
    "import_principal",
    "principal_of",
]


def authorise(
    request: HttpRequest,
    capability: Capability,
    obj: Auditable | None = None,
    *,
    verb: str,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Return the audit event of an allowed act, written before anything is shown; the answer names it (X-Audit-Id).

    Raises Http404 for a right the principal lacks and an object it may not see, after recording the attempt (AUD-08),
    and AuditUnavailableError (503) when the record cannot be written (AUD-02).
    """
    principal = principal_of(request)
    reference = _check(request, principal, capability, obj, verb)
    event = record(
        verb,
        context=principal.context,
        clinic_id=principal.clinic.pk,
        object_kind=reference.kind,
        object_reference=reference.reference,
        patient_reference=reference.patient_reference,
        study_reference=reference.study_reference,
        details=details,
    )
    return _stamp(request, event)


def authorise_series(request: HttpRequest, capability: Capability, series: Auditable) -> AuditEvent:
    """Return the event that covers this series: for frames, of which a viewer fetches hundreds. See below."""
    return authorise_covered(request, capability, series, verb="series.viewed")


def authorise_thumbnail(request: HttpRequest, study: Auditable) -> AuditEvent:
    """Return the event that covers the small pictures of a study's series: a page of them is looked at as one thing."""
    return authorise_covered(request, Capability.STUDY_VIEW, study, verb="thumbnails.viewed")


def authorise_covered(request: HttpRequest, capability: Capability, obj: Auditable, *, verb: str) -> AuditEvent:
    """Return the event that covers this object: the caller's own of the last five minutes, else a new one.

    For what one page asks for again and again: rights and visibility are checked every time, only the record is
    shared. Errors as `authorise`.
    """
    principal = principal_of(request)
    reference = _check(request, principal, capability, obj, verb)
    covering = covering_event(
        context=principal.context,
        clinic_id=principal.clinic.pk,
        verb=verb,
        object_kind=reference.kind,
        object_reference=reference.reference,
    )
    if covering is not None:
        return _stamp(request, covering)
    event = record(
        verb,
        context=principal.context,
        clinic_id=principal.clinic.pk,
        object_kind=reference.kind,
        object_reference=reference.reference,
        patient_reference=reference.patient_reference,
        study_reference=reference.study_reference,
    )
    return _stamp(request, event)


def _check(
    request: HttpRequest, principal: Principal, capability: Capability, obj: Auditable | None, verb: str
) -> ObjectReference:
    """Return how the object is named; raise Http404 after recording what was refused."""
    own = ObjectReference("clinic", principal.clinic.public_id)
    if obj is not None and obj.clinic_id != principal.clinic.pk:
        # The foreign object is not named: this clinic's trail must not tell of another's.
        _refuse(principal, own, capability, verb, "foreign-object")
    reference = own if obj is None else obj.audit_reference()
    if capability not in principal.capabilities:
        _refuse(principal, reference, capability, verb, "missing-capability")
    if obj is not None and not principal.may_see(obj):
        _refuse(principal, reference, capability, verb, "outside-grant")
    return reference


def _refuse(
    principal: Principal, reference: ObjectReference, capability: Capability, verb: str, reason: str
) -> NoReturn:
    record(
        verb,
        context=principal.context,
        clinic_id=principal.clinic.pk,
        object_kind=reference.kind,
        object_reference=reference.reference,
        patient_reference=reference.patient_reference,
        study_reference=reference.study_reference,
        outcome=Outcome.DENIED,
        details={"reason": reason, "capability": capability.value},
    )
    raise Http404


def _stamp(request: HttpRequest, event: AuditEvent) -> AuditEvent:
    request.audit_id = event.public_id  # type: ignore[attr-defined]
    return event
