"""Who may do what: roles, capabilities, and the rule that every URL declares.

A Role is a person's place in a clinic, a Capability is a right that a page or an act asks for, and a Rule is what a URL
pattern declares. The table is data: a new page picks a capability, it never asks for a role.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from django.db import models
from django.utils.translation import gettext_lazy as _


class Capability(Enum):
    """A right inside one clinic."""

    CLINIC_HOME = "clinic.home"
    STUDY_SEARCH = "study.search"
    STUDY_VIEW = "study.view"
    STUDY_DOWNLOAD = "study.download"
    UPLOAD_CREATE = "upload.create"
    UPLOAD_VIEW = "upload.view"
    LINK_CREATE = "link.create"
    LINK_MANAGE = "link.manage"
    REQUEST_CREATE = "request.create"
    INBOX_MANAGE = "inbox.manage"
    IDENTITY_MANAGE = "identity.manage"
    AUDIT_READ = "audit.read"
    BILLING_READ = "billing.read"
    MEMBER_MANAGE = "member.manage"
    CLINIC_MANAGE = "clinic.manage"
    TOKEN_MANAGE = "token.manage"  # noqa: S105  # a right, not a secret


class Role(models.TextChoices):
    """A person's place in a clinic."""

    OWNER = "owner", _("Owner")
    PHYSICIAN = "physician", _("Physician")
    UPLOADER = "uploader", _("Uploader")
    AUDITOR = "auditor", _("Auditor")
    BILLING = "billing", _("Billing")


class Scope(models.TextChoices):
    """What a bearer token may be used for."""

    READ = "read", _("Read: search, view and download studies")
    WRITE = "write", _("Write: store studies")


_READ = frozenset({Capability.STUDY_SEARCH, Capability.STUDY_VIEW, Capability.STUDY_DOWNLOAD})
_UPLOAD = frozenset({Capability.UPLOAD_CREATE, Capability.UPLOAD_VIEW})
_HOME = frozenset({Capability.CLINIC_HOME})
# Saying whose images are: what came by a link, two versions of one image, two patients of one number.
_DECIDE = frozenset({Capability.INBOX_MANAGE, Capability.IDENTITY_MANAGE})

CAPABILITIES: dict[Role, frozenset[Capability]] = {
    Role.OWNER: frozenset(Capability),
    Role.PHYSICIAN: _HOME | _READ | _UPLOAD | _DECIDE | {Capability.LINK_CREATE, Capability.REQUEST_CREATE},
    # May ask for images, which shows nobody anything; whose they are says somebody who sees the studies.
    Role.UPLOADER: _HOME | _UPLOAD | {Capability.REQUEST_CREATE},
    Role.AUDITOR: _HOME | {Capability.AUDIT_READ},
    Role.BILLING: _HOME | {Capability.BILLING_READ},
}

# A limited membership looks at what it was granted and nothing else: uploads would show it other patients.
GRANT_CAPABILITIES: frozenset[Capability] = _HOME | _READ

SCOPE_CAPABILITIES: dict[Scope, frozenset[Capability]] = {
    Scope.READ: _READ,
    Scope.WRITE: frozenset({Capability.UPLOAD_CREATE}),
}


def capabilities_of(role: Role | str, *, is_limited: bool = False) -> frozenset[Capability]:
    """Return the rights of a role; `is_limited` for a membership that sees only what it was granted."""
    capabilities = CAPABILITIES[Role(role)]
    return capabilities & GRANT_CAPABILITIES if is_limited else capabilities


def capabilities_of_scopes(scopes: Iterable[Scope]) -> frozenset[Capability]:
    """Return the rights that a token's scopes add up to."""
    return frozenset().union(*(SCOPE_CAPABILITIES[scope] for scope in scopes))


# What Django admin lets the installation's staff do, in Django's own permission names; what is not here nobody may.
# Nothing clinical is on the list, no passwords, and memberships can only be looked at: staff cannot let themselves in.
PLATFORM_PERMISSIONS: frozenset[str] = frozenset(
    {
        "accounts.view_apitoken",
        "accounts.view_invitation",
        "accounts.view_membership",
        "accounts.view_totpdevice",
        "accounts.view_user",
        "accounts.change_user",
        "accounts.view_usersession",
        "audit.view_auditevent",
        "audit.view_seal",
        "backup.view_alarm",
        "backup.view_databasecopy",
        "billing.add_plan",
        "billing.add_subscription",
        "billing.change_plan",
        "billing.view_plan",
        "billing.view_subscription",
        "clinics.change_clinic",
        "clinics.view_clinic",
        "ingest.view_upload",
        "jobs.view_job",
        "jobs.view_periodic",
        "jobs.view_workerpulse",
        "links.view_link",
        "storage.view_usage",
    }
)


class RuleKind(Enum):
    """What has to be true of a request before a view runs."""

    PUBLIC = auto()
    PASSWORD_ONLY = auto()
    SIGNED_IN = auto()
    CLINIC = auto()
    LINK = auto()
    PLATFORM = auto()


@dataclass(frozen=True)
class Rule:
    """What a URL pattern asks of whoever calls it; enforced by `apps.accounts.middleware.AccessRuleMiddleware`."""

    kind: RuleKind
    capability: Capability | None = None
    api: bool = False
    step_up: bool = False
    post: Capability | None = None

    def capability_for(self, method: str | None) -> Capability | None:
        """Return the right that a request with this method needs: `post` for POST when declared, else `capability`."""
        return self.post if method == "POST" and self.post is not None else self.capability

    @classmethod
    def public(cls) -> Rule:
        """Return the rule of a page for everybody: sign-in, landing pages, health."""
        return cls(RuleKind.PUBLIC)

    @classmethod
    def password_only(cls) -> Rule:
        """Return the rule of the few pages that a session without a second factor reaches: enrol, verify, sign out."""
        return cls(RuleKind.PASSWORD_ONLY)

    @classmethod
    def signed_in(cls, *, step_up: bool = False) -> Rule:
        """Return the rule of pages about the signed-in person, outside any clinic."""
        return cls(RuleKind.SIGNED_IN, step_up=step_up)

    @classmethod
    def clinic(
        cls, capability: Capability, *, api: bool = False, step_up: bool = False, post: Capability | None = None
    ) -> Rule:
        """Return the rule of a page of one clinic.

        `api`: a bearer token with a matching scope is accepted too, and strangers get 401 instead of a redirect.
        `step_up`: the second factor must have been shown within the last five minutes; after showing it the person
        comes back with GET, whatever the method was.
        `post`: the right that POST needs where it differs (DICOMweb searches and stores under one URL).
        """
        return cls(RuleKind.CLINIC, capability=capability, api=api, step_up=step_up, post=post)

    @classmethod
    def link(cls) -> Rule:
        """Return the rule of pages whose view authenticates a share link itself; sessions are not looked at."""
        return cls(RuleKind.LINK)

    @classmethod
    def platform(cls, *, step_up: bool = False) -> Rule:
        """Return the rule of pages for the installation's own staff; `step_up` as for `clinic`."""
        return cls(RuleKind.PLATFORM, step_up=step_up)
