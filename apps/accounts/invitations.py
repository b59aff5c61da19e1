"""Invitations: the only way to an account. A one-time address, of whose token only the hash is kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from apps.accounts.errors import AlreadyMemberError, InvitationInvalidError
from apps.accounts.models import Invitation, Membership, User
from apps.accounts.passwords import PasswordPolicy, choose_password, policy_for, save_password
from apps.accounts.roles import Role
from apps.audit.services import Context, record
from apps.billing.roles import Limit
from apps.billing.services import reserve
from apps.clinics.models import Clinic
from apps.notices.services import send_mail

VALID_FOR: Final = timedelta(days=7)
BOOTSTRAP_VALID_FOR: Final = timedelta(minutes=30)


def invite(
    clinic: Clinic,
    email: str,
    role: Role,
    *,
    context: Context,
    is_limited: bool = False,
    invited_by: User | None = None,
) -> str:
    """Return the one-time address by which a person joins a clinic; an open invitation to the same address is replaced.

    Raises AlreadyMemberError, and LimitReachedError when the plan has no seat left.
    """
    email = email.strip().lower()
    with transaction.atomic():
        if Membership.objects.filter(clinic=clinic, user__email__iexact=email).exists():
            raise AlreadyMemberError
        open_invitations(clinic).filter(email__iexact=email).delete()
        reserve(clinic, Limit.SEATS, 1, used=lambda: used_seats(clinic))
        invitation, url = _make(
            email, VALID_FOR, clinic=clinic, role=role, is_limited=is_limited, invited_by=invited_by
        )
        _record("invitation.created", invitation, context)
    return url


def invite_by_mail(
    clinic: Clinic, email: str, role: Role, *, context: Context, is_limited: bool = False, invited_by: User
) -> None:
    """Invite a person and send them the address; errors as `invite`."""
    with transaction.atomic():
        url = invite(clinic, email, role, context=context, is_limited=is_limited, invited_by=invited_by)
        send_mail(
            email.strip().lower(),
            "invitation",
            {"clinic": clinic.name, "url": url, "days": VALID_FOR.days, "invited_by": invited_by.name},
        )


def invite_platform_admin(email: str, *, context: Context) -> str:
    """Return the one-time address of a new platform admin; good for 30 minutes (AUTH-14)."""
    with transaction.atomic():
        invitation, url = _make(email.strip().lower(), BOOTSTRAP_VALID_FOR)
        _record("invitation.created", invitation, context)
    return url


def find_invitation(token: str) -> Invitation:
    """Return the open invitation with this token; raises InvitationInvalidError for every other token alike."""
    digest = hashlib.sha256(token.encode()).digest()
    rows = Invitation.objects.select_related("clinic", "invited_by")
    invitation = rows.filter(token_sha256=digest, accepted_at=None, expires_at__gt=timezone.now()).first()
    if invitation is None or (invitation.clinic is not None and invitation.clinic.is_suspended):
        raise InvitationInvalidError
    return invitation


def policy_of_invitation(invitation: Invitation, name: str) -> PasswordPolicy:
    """Return the password policy that the invited person has to meet."""
    return policy_for(name, invitation.email, [invitation.clinic] if invitation.clinic else [])


@sensitive_variables("password")
def accept_invitation(invitation: Invitation, name: str, password: str, *, context: Context) -> User:
    """Use an invitation up and return the new person, who still has to enrol a second factor.

    Raises ValidationError for a password against the policy, InvitationInvalidError when somebody was faster or the
    address has an account already (then its owner signs in and joins, see `join`).
    """
    user = User(email=invitation.email, name=name.strip(), is_staff=invitation.clinic_id is None)
    choose_password(user, password, policy_of_invitation(invitation, name))
    with transaction.atomic():
        _use_up(invitation)
        if User.objects.filter(email__iexact=invitation.email).exists():
            raise InvitationInvalidError
        save_password(user)
        _give_place(invitation, user, context)
    return user


def join(invitation: Invitation, user: User, *, context: Context) -> None:
    """Use an invitation up for a person who has an account and is signed in; raises InvitationInvalidError."""
    if user.email.lower() != invitation.email.lower():
        raise InvitationInvalidError
    with transaction.atomic():
        _use_up(invitation)
        _give_place(invitation, user, context)


def withdraw(invitation: Invitation, *, context: Context) -> None:
    """Take an open invitation back."""
    with transaction.atomic():
        _record("invitation.withdrawn", invitation, context)
        invitation.delete()


def open_invitations(clinic: Clinic):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Return the invitations of a clinic that can still be accepted."""
    return Invitation.objects.filter(clinic=clinic, accepted_at=None, expires_at__gt=timezone.now())


def used_seats(clinic: Clinic) -> int:
    """Return how many seats of the plan are taken: members, and open invitations."""
    return Membership.objects.filter(clinic=clinic).count() + int(open_invitations(clinic).count())


def _make(email: str, valid_for: timedelta, **fields: object) -> tuple[Invitation, str]:
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email,
        token_sha256=hashlib.sha256(token.encode()).digest(),
        expires_at=timezone.now() + valid_for,
        **fields,
    )
    return invitation, settings.BASE_URL + reverse("invitation", args=[token])


def _use_up(invitation: Invitation) -> None:
    # One statement decides who was first.
    rows = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, expires_at__gt=timezone.now())
    if not rows.update(accepted_at=timezone.now()):
        raise InvitationInvalidError


def _give_place(invitation: Invitation, user: User, context: Context) -> None:
    if invitation.clinic is None:
        if not user.is_staff:
            user.is_staff = True
            user.save(update_fields=["is_staff"])
    else:
        Membership.objects.update_or_create(
            user=user, clinic=invitation.clinic, defaults={"role": invitation.role, "is_limited": invitation.is_limited}
        )
    _record("invitation.accepted", invitation, context)


def _record(verb: str, invitation: Invitation, context: Context) -> None:
    record(
        verb,
        context=context,
        clinic_id=invitation.clinic_id,
        object_kind="invitation",
        object_reference=invitation.public_id,
        details={"role": invitation.role or "platform-admin", "is_limited": invitation.is_limited},
    )
