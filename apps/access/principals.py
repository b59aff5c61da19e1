"""Whoever asks for studies: a member, a token, a link, or a program of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from apps.access.references import ObjectReference
from apps.accounts.models import ApiToken, Grant, Membership, User
from apps.accounts.roles import Capability
from apps.accounts.services import audit_context
from apps.audit.services import Context
from apps.clinics.models import Clinic

PrincipalKind = Literal["member", "token", "link", "system"]


class Auditable(Protocol):
    """An object of a clinic that can be shown to somebody: a patient, a study, a series, an instance, a document."""

    @property
    def clinic_id(self) -> int:
        """The clinic that owns it."""

    def audit_reference(self) -> ObjectReference:
        """How the trail names it."""


@dataclass(frozen=True)
class Principal:
    """Who asks, in which clinic, with which rights, and for which patients or studies (None: all of them)."""

    kind: PrincipalKind
    clinic: Clinic
    capabilities: frozenset[Capability]
    context: Context
    user: User | None = None
    patient_references: frozenset[str] | None = None
    study_references: frozenset[str] | None = None
    # Written into every picture that is made for this principal; "" for none.
    watermark: str = ""
    # The edition of the clinic's studies in which this principal moves: "" the clinic's own, else an anonymised copy.
    edition: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether only some patients or studies exist for this principal."""
        return self.patient_references is not None or self.study_references is not None

    def may_see(self, obj: Auditable) -> bool:
        """Return whether the object belongs to the clinic and to what this principal is limited to."""
        if obj.clinic_id != self.clinic.pk:
            return False
        if not self.is_limited:
            return True
        reference = obj.audit_reference()
        return (bool(reference.study_reference) and reference.study_reference in (self.study_references or ())) or (
            bool(reference.patient_reference) and reference.patient_reference in (self.patient_references or ())
        )


def principal_of(request: HttpRequest) -> Principal:
    """Return the principal of a request: what the view of a link put there, else the member or the token.

    Raises PermissionDenied where the URL's rule established neither.
    """
    principal = getattr(request, "principal", None)
    if isinstance(principal, Principal):
        return principal
    clinic: Clinic | None = getattr(request, "clinic", None)
    token: ApiToken | None = getattr(request, "api_token", None)
    membership: Membership | None = getattr(request, "membership", None)
    if clinic is not None and token is not None:
        principal = Principal("token", clinic, token.capabilities, audit_context(request))
    elif clinic is not None and membership is not None:
        principal = _member(request, clinic, membership)
    else:
        raise PermissionDenied
    request.principal = principal  # type: ignore[attr-defined]
    return principal


def import_principal(clinic: Clinic, name: str) -> Principal:
    """Return the principal of a program of ours that brings studies into a clinic."""
    rights = frozenset({Capability.UPLOAD_CREATE, Capability.UPLOAD_VIEW})
    return Principal("system", clinic, rights, Context.system(name))


def _member(request: HttpRequest, clinic: Clinic, membership: Membership) -> Principal:
    user: User = request.user  # type: ignore[assignment]
    patients = studies = None
    if membership.is_limited:
        grants = list(membership.grants.values_list("kind", "reference"))
        patients = frozenset(reference for kind, reference in grants if kind == Grant.Kind.PATIENT)
        studies = frozenset(reference for kind, reference in grants if kind == Grant.Kind.STUDY)
    return Principal("member", clinic, membership.capabilities, audit_context(request), user, patients, studies)
