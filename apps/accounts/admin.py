"""People in Django admin: accounts, their places, devices, sessions and tokens. No secret, no password, no patient."""

from __future__ import annotations

from django.contrib import admin
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import ApiToken, Invitation, Membership, TotpDevice, User, UserSession
from apps.accounts.signin import end_sessions
from apps.accounts.trail import record_for_person
from apps.audit.services import current_context


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    """The clinics a person is in; to be looked at only, so that staff cannot let themselves in."""

    model = Membership
    fields = ("clinic", "role", "is_limited", "created_at")
    readonly_fields = fields
    extra = 0
    verbose_name_plural = _("clinics")


class TotpDeviceInline(admin.TabularInline):  # type: ignore[type-arg]
    """A person's authenticators, without their seeds."""

    model = TotpDevice
    fields = ("name", "confirmed", "created_at", "last_used_at", "throttling_failure_count")
    readonly_fields = fields
    extra = 0
    verbose_name_plural = _("authenticators")


@admin.register(User)
class UserAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Accounts come by invitation, passwords by their owner alone; an account is closed, not deleted."""

    list_display = ("email", "name", "is_active", "is_staff", "device_count", "last_login", "created_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name", "public_id")
    ordering = ("email",)
    fields = (
        "email",
        "public_id",
        "name",
        "locale",
        "is_active",
        "is_staff",
        "last_login",
        "password_changed_at",
        "created_at",
    )
    # A changed address would hand the account over by the next reset letter.
    readonly_fields = ("email", "public_id", "last_login", "password_changed_at", "created_at")
    inlines = (MembershipInline, TotpDeviceInline)
    actions = ("end_sessions",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Count the devices in the same query."""
        users: QuerySet[User] = super().get_queryset(request)
        return users.annotate(devices=Count("totpdevice", filter=Q(totpdevice__confirmed=True), distinct=True))

    @admin.display(description=_("authenticators"))
    def device_count(self, user: User) -> int:
        """How many authenticators the person has enrolled."""
        count: int = user.devices  # type: ignore[attr-defined]
        return count

    @admin.action(description=_("End all sessions of the chosen people"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, users: QuerySet[User]) -> None:
        """Sign people out everywhere."""
        for user in users:
            with transaction.atomic():
                count = end_sessions(user)
                record_for_person("session.ended", user, context=current_context(), details={"session_count": count})


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who has which place where."""

    list_display = ("user_email", "clinic", "role", "is_limited", "created_at")
    list_filter = ("role", "is_limited")
    search_fields = ("user__email", "clinic__slug")
    list_select_related = ("user", "clinic")
    fields = ("public_id", "user_email", "clinic", "role", "is_limited", "created_at")
    readonly_fields = ("user_email",)

    @admin.display(description=_("person"), ordering="user__email")
    def user_email(self, membership: Membership) -> str:
        """Return the person's address."""
        return membership.user.email


@admin.register(TotpDevice)
class TotpDeviceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Authenticators of all people, without their seeds."""

    list_display = ("user_email", "name", "confirmed", "created_at", "last_used_at", "throttling_failure_count")
    list_filter = ("confirmed",)
    search_fields = ("user__email",)
    list_select_related = ("user",)
    fields = ("user_email", "name", "confirmed", "created_at", "last_used_at", "throttling_failure_count")
    readonly_fields = ("user_email",)

    @admin.display(description=_("person"), ordering="user__email")
    def user_email(self, device: TotpDevice) -> str:
        """Return the person's address."""
        return str(device.user.email)


@admin.register(UserSession)
class UserSessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Where people are signed in; the keys are hashes, and even those stay out of sight."""

    list_display = ("user_email", "remote_addr", "user_agent", "created_at", "last_activity_at", "verified_at")
    list_display_links = None
    search_fields = ("user__email", "remote_addr")
    list_select_related = ("user",)
    ordering = ("-last_activity_at",)
    fields = ("user_email", "remote_addr", "user_agent", "created_at", "last_activity_at", "verified_at")
    readonly_fields = ("user_email",)

    @admin.display(description=_("person"), ordering="user__email")
    def user_email(self, session: UserSession) -> str:
        """Return the person's address; empty before somebody signed in."""
        return session.user.email if session.user else ""


@admin.register(Invitation)
class InvitationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Invitations that are on their way or were accepted; their addresses cannot be read back."""

    list_display = ("email", "clinic", "role", "created_at", "expires_at", "accepted_at")
    list_filter = (("accepted_at", admin.EmptyFieldListFilter),)
    search_fields = ("email", "clinic__slug")
    list_select_related = ("clinic",)
    fields = ("public_id", "email", "clinic", "role", "created_at", "expires_at", "accepted_at")


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Which clinics use API tokens; the tokens themselves are not kept."""

    list_display = ("public_id", "clinic", "scopes", "created_at", "expires_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("public_id", "clinic__slug")
    list_select_related = ("clinic",)
    fields = ("public_id", "clinic", "scopes", "created_at", "expires_at", "revoked_at")
