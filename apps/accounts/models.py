"""People, their places in clinics, their second factors, sessions and tokens."""

from __future__ import annotations

import hashlib
import time
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import F
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_otp.models import Device, ThrottlingMixin, TimestampMixin
from django_otp.oath import TOTP

from apps.accounts.roles import PLATFORM_PERMISSIONS, Capability, Role, Scope, capabilities_of, capabilities_of_scopes
from apps.clinics.models import Clinic, PublicIdField
from apps.keys import services as keys


class UserManager(BaseUserManager["User"]):
    """Users are named by e-mail address, case-insensitively."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Return a new user; without a password the account is opened by invitation only."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with this e-mail address in any case."""
        return self.get(email__iexact=username)


class User(AbstractBaseUser):  # type: ignore[django-manager-missing]  # django-otp has no types
    """A person. What they may do comes from their memberships; platform admins run the installation."""

    public_id = PublicIdField()
    email = models.EmailField(_("e-mail address"), unique=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(_("platform admin"), default=False)
    locale = models.CharField(max_length=10, blank=True)
    password_changed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_any_case")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_platform_admin(self) -> bool:
        """Whether this person runs the installation (Django admin); no clinic data comes with it."""
        return self.is_active and self.is_staff

    def has_perm(self, permission: str, obj: models.Model | None = None) -> bool:
        """Return whether Django admin lets this person act: staff of the installation, and only what is listed."""
        return self.is_platform_admin and permission in PLATFORM_PERMISSIONS

    def has_module_perms(self, app_label: str) -> bool:
        """As `has_perm`, for a whole app."""
        return self.is_platform_admin


class Membership(models.Model):
    """A person's place in a clinic. With grants it is limited to the patients or studies they name."""

    public_id = PublicIdField()
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=12, choices=Role.choices)
    # A limited place without any grant sees nothing: taking the last grant away must not open everything.
    is_limited = models.BooleanField(_("limited to some patients or studies"), default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "clinic"], name="one_place_a_clinic")]

    def __str__(self) -> str:
        return self.public_id

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this person may do in this clinic."""
        return capabilities_of(self.role, is_limited=self.is_limited)


class Grant(models.Model):
    """One patient or study that a limited membership may see, named by its public id."""

    class Kind(models.TextChoices):
        """What is granted."""

        PATIENT = "patient", _("Patient")
        STUDY = "study", _("Study")

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="grants")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    reference = models.CharField(max_length=22)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["membership", "kind", "reference"], name="grant_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


class Invitation(models.Model):
    """A one-time URL by which a person opens an account or joins a clinic; only the token's hash is kept."""

    public_id = PublicIdField()
    email = models.EmailField()
    # Without a clinic it makes a platform admin.
    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    role = models.CharField(max_length=12, choices=Role.choices, blank=True)
    is_limited = models.BooleanField(default=False)
    token_sha256 = models.BinaryField(unique=True, max_length=32)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.public_id


class ApiToken(models.Model):
    """A bearer token of a clinic for devices and scripts; only its hash is kept."""

    public_id = PublicIdField()
    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=100, blank=True)
    token_sha256 = models.BinaryField(unique=True, max_length=32)
    scopes = models.CharField(max_length=40)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.public_id

    @property
    def scope_list(self) -> list[Scope]:
        """The token's scopes."""
        return [Scope(scope) for scope in self.scopes.split(",") if scope]

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What a bearer of this token may do in its clinic."""
        return capabilities_of_scopes(self.scope_list)

    @property
    def is_live(self) -> bool:
        """Whether the token opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class CountedFailures(ThrottlingMixin):
    """Failures are counted in the database, so that parallel guesses cannot count as one; waits 1, 2, 4, 8 ... s."""

    objects: ClassVar[models.Manager[Any]]

    class Meta:
        abstract = True

    def get_throttle_factor(self) -> float:
        """Return the first wait in seconds; it doubles with every failure (django-otp)."""
        return 1

    def count_failure(self) -> None:
        """Add one failure."""
        now = timezone.now()
        rows = type(self).objects.filter(pk=self.pk)
        rows.update(throttling_failure_count=F("throttling_failure_count") + 1, throttling_failure_timestamp=now)
        self.refresh_from_db(fields=["throttling_failure_count", "throttling_failure_timestamp"])


class TotpDevice(TimestampMixin, CountedFailures, Device):
    """A TOTP authenticator (RFC 6238); its seed is sealed, a used step is never accepted again."""

    STEP_SECONDS: ClassVar[int] = 30
    TOLERANCE_STEPS: ClassVar[int] = 1

    public_id = PublicIdField()
    sealed_seed = models.BinaryField(editable=False)
    last_step = models.BigIntegerField(default=-1)
    drift_steps = models.SmallIntegerField(default=0)

    objects: ClassVar[models.Manager[TotpDevice]] = models.Manager()

    class Meta(Device.Meta):
        verbose_name = _("authenticator")

    def __str__(self) -> str:
        return self.public_id

    @staticmethod
    def seal_seed(user: User, seed: bytes) -> bytes:
        """Return the seed sealed for this user: moved to another user's row it does not open."""
        return keys.seal_secret(f"totp-seed:{user.pk}", seed)

    def open_seed(self) -> bytes:
        """Return the seed's 20 bytes; raises KeyUnavailableError without the master key."""
        return keys.open_secret(f"totp-seed:{self.user_id}", bytes(self.sealed_seed))

    def verify_token(self, token: str) -> bool:
        """Return whether `token` is the code of this step or a neighbour's, and use it up (RFC 6238 5.2)."""
        allowed, _reason = self.verify_is_allowed()
        if not allowed:
            return False
        if token.isascii() and token.isdigit() and len(token) == 6:
            clock = TOTP(self.open_seed(), step=self.STEP_SECONDS, drift=self.drift_steps)
            clock.time = time.time()
            if clock.verify(int(token), tolerance=self.TOLERANCE_STEPS, min_t=self.last_step + 1):
                return self._use_up(clock.t(), clock.drift)
        self.count_failure()
        return False

    def _use_up(self, step: int, drift_steps: int) -> bool:
        # One statement decides who was first with this code.
        used = {
            "last_step": step,
            "drift_steps": drift_steps,
            "last_used_at": timezone.now(),
            "throttling_failure_count": 0,
            "throttling_failure_timestamp": None,
        }
        won = TotpDevice.objects.filter(pk=self.pk, last_step__lt=step).update(**used) == 1
        if won:
            self.refresh_from_db()
        return won


class RecoveryKit(TimestampMixin, CountedFailures, Device):
    """A person's set of recovery codes: a device of its own, with failures of its own."""

    objects: ClassVar[models.Manager[RecoveryKit]] = models.Manager()

    class Meta(Device.Meta):
        verbose_name = _("recovery codes")
        constraints = [models.UniqueConstraint(fields=["user"], name="one_recovery_kit")]

    def __str__(self) -> str:
        return f"recovery {self.pk}"

    def verify_token(self, token: str) -> bool:
        """Return whether `token` is an unused code, and use it up with one DELETE."""
        allowed, _reason = self.verify_is_allowed()
        if not allowed:
            return False
        deleted, _rows = RecoveryCode.objects.filter(kit=self, digest=RecoveryCode.digest_of(token)).delete()
        if not deleted:
            self.count_failure()
            return False
        self.throttle_reset(commit=False)
        self.set_last_used_timestamp(commit=True)
        return True


class RecoveryCode(models.Model):
    """One single-use recovery code; kept as a keyed hash, gone once used."""

    kit = models.ForeignKey(RecoveryKit, on_delete=models.CASCADE, related_name="codes")
    digest = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kit", "digest"], name="recovery_code_once")]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"

    @staticmethod
    def digest_of(code: str) -> bytes:
        """Return the keyed hash of a code; spaces, dashes and case do not matter."""
        plain = "".join(letter for letter in code.lower() if letter.isalnum())
        return keys.keyed_digest("recovery-code", plain.encode())


class PasswordHistory(models.Model):
    """The hashes of a person's last passwords, so that none comes back soon."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="password_history")
    password = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"password {self.pk}"


class SignInFailure(models.Model):
    """One wrong password, kept for an hour to slow guessing down; the name that was typed is kept hashed only."""

    username_sha256 = models.BinaryField(max_length=32)
    remote_addr = models.GenericIPAddressField()
    failed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["username_sha256", "failed_at"], name="failure_by_username"),
            models.Index(fields=["remote_addr", "failed_at"], name="failure_by_address"),
        ]

    def __str__(self) -> str:
        return f"failure {self.pk}"


# In this order: each browser also names those that it descends from.
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_of(user_agent: str) -> str:
    """Return the browser and system in words, as far as a User-Agent header tells."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), user_agent[:40] or "?")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser}, {system}" if system else browser


class UserSession(AbstractBaseSession):
    """A signed-in browser; the key is stored hashed, the row is deleted to end it."""

    session_key = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="sessions")
    public_id = PublicIdField()
    remote_addr = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_activity_at = models.DateTimeField(default=timezone.now)
    verified_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.public_id

    @property
    def browser_name(self) -> str:
        """The browser and system in words, as far as the user agent tells."""
        return browser_of(self.user_agent)

    @staticmethod
    def digest_of(key: str) -> str:
        """Return what is stored of a session key: its SHA-256 in hex."""
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        """Return the store whose rows these are; named late, since the store imports this model."""
        raise NotImplementedError("Use apps.accounts.sessions.SessionStore.")
