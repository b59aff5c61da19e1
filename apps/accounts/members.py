"""The people of a clinic: roles, limits, and leaving."""

from __future__ import annotations

import re

from django.db import transaction

from apps.accounts.errors import LastOwnerError
from apps.accounts.models import Grant, Membership
from apps.accounts.roles import Role
from apps.audit.services import Context, record
from apps.clinics.models import Clinic

_PAGE_OF = re.compile(r"/c/(?P<slug>[-\w]+)/(?P<kind>patients|studies)/(?P<reference>[\w-]{22})(?:/|$)")


def change_role(membership: Membership, role: Role, *, is_limited: bool, context: Context) -> None:
    """Give a member another role; it holds from the next request on (AUTHZ-08). Raises LastOwnerError."""
    with transaction.atomic():
        previous = membership.role
        if role != Role.OWNER or is_limited:
            _keep_an_owner(membership)
        membership.role, membership.is_limited = role, is_limited
        membership.save(update_fields=["role", "is_limited"])
        _record("membership.changed", membership, context, {"role": str(role), "previous_role": previous})


def remove_member(membership: Membership, *, context: Context) -> None:
    """Take a person's place in a clinic away; the person's account stays. Raises LastOwnerError."""
    with transaction.atomic():
        _keep_an_owner(membership)
        _record("membership.removed", membership, context, {"role": membership.role})
        membership.delete()


def grant_page(membership: Membership, address: str, *, context: Context) -> Grant | None:
    """Let a limited member see the patient or study whose page has this address; None when it is no such page.

    The address names the object by its random public id. What it stands for is looked up where it is read, so that a
    made-up id opens nothing.
    """
    found = _PAGE_OF.search(address)
    if found is None or found["slug"] != membership.clinic.slug:
        return None
    kind = Grant.Kind.PATIENT if found["kind"] == "patients" else Grant.Kind.STUDY
    return add_grant(membership, kind, found["reference"], context=context)


def add_grant(membership: Membership, kind: Grant.Kind, reference: str, *, context: Context) -> Grant:
    """Let a limited member see one patient or study, named by its public id."""
    with transaction.atomic():
        grant, is_new = Grant.objects.get_or_create(membership=membership, kind=kind, reference=reference)
        if is_new:
            _record_grant("grant.created", grant, context)
    return grant


def remove_grant(grant: Grant, *, context: Context) -> None:
    """Take one patient or study away from a limited member."""
    with transaction.atomic():
        _record_grant("grant.removed", grant, context)
        grant.delete()


def _keep_an_owner(membership: Membership) -> None:
    if membership.role != Role.OWNER or membership.is_limited:
        return
    # The clinic's row is locked: two owners cannot demote each other at the same moment.
    Clinic.objects.select_for_update().get(pk=membership.clinic_id)
    owners = Membership.objects.filter(
        clinic_id=membership.clinic_id, role=Role.OWNER, is_limited=False, user__is_active=True
    )
    if not owners.exclude(pk=membership.pk).exists():
        raise LastOwnerError


def _record(verb: str, membership: Membership, context: Context, details: dict[str, str]) -> None:
    record(
        verb,
        context=context,
        clinic_id=membership.clinic_id,
        object_kind="membership",
        object_reference=membership.public_id,
        details={**details, "is_limited": membership.is_limited},
    )


def _record_grant(verb: str, grant: Grant, context: Context) -> None:
    is_patient = grant.kind == Grant.Kind.PATIENT
    record(
        verb,
        context=context,
        clinic_id=grant.membership.clinic_id,
        object_kind="membership",
        object_reference=grant.membership.public_id,
        patient_reference=grant.reference if is_patient else "",
        study_reference="" if is_patient else grant.reference,
        details={"kind": grant.kind},
    )
