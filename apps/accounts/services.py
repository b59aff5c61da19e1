"""The door of the people room: everything that other apps may ask of it."""

from __future__ import annotations

from django.views.decorators.debug import sensitive_variables

from apps.accounts.addresses import audit_context, client_address, lockout_address
from apps.accounts.factors import is_verified, verify_factor
from apps.accounts.founding import found_clinic
from apps.accounts.gate import bearer_secret, has_stepped_up, unrecorded
from apps.accounts.invitations import accept_invitation, invite, invite_by_mail, invite_platform_admin, used_seats
from apps.accounts.members import add_grant, change_role, grant_page, remove_grant, remove_member
from apps.accounts.models import User
from apps.accounts.passwords import choose_password, policy_for, random_password, save_password
from apps.accounts.routing import ClinicRequest, page, rule_of
from apps.accounts.signin import end_sessions, locked_out, sign_in, sign_out
from apps.accounts.tokens import create_api_token, find_token, revoke_api_token

__all__ = [
    "ClinicRequest",
    "accept_invitation",
    "add_grant",
    "audit_context",
    "bearer_secret",
    "change_role",
    "client_address",
    "create_api_token",
    "create_user",
    "end_sessions",
    "find_token",
    "found_clinic",
    "grant_page",
    "has_stepped_up",
    "invite",
    "invite_by_mail",
    "invite_platform_admin",
    "is_verified",
    "locked_out",
    "lockout_address",
    "page",
    "random_password",
    "remove_grant",
    "remove_member",
    "revoke_api_token",
    "rule_of",
    "sign_in",
    "sign_out",
    "unrecorded",
    "used_seats",
    "verify_factor",
]


@sensitive_variables("password")
def create_user(email: str, name: str, password: str) -> User:
    """Return a new person with this password and no place anywhere yet; raises ValidationError against the policy.

    For programs (the demo, tests). People come by invitation.
    """
    user = User(email=email.strip().lower(), name=name)
    choose_password(user, password, policy_for(name, email, []))
    save_password(user)
    return user
