"""Changing one's own password, and getting a new one by mail. Neither touches the second factor (AUTH-02)."""

from __future__ import annotations

import base64
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from apps.accounts import throttle
from apps.accounts.errors import TooManyAttemptsError
from apps.accounts.models import User
from apps.accounts.passwords import choose_password, policy_of, save_password
from apps.accounts.signin import end_sessions
from apps.accounts.trail import record_for_person
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.jobs.services import enqueue
from apps.keys.services import open_secret, seal_secret
from apps.notices.services import send_mail

RESET_JOB = "accounts.password_reset"
RESET_VERB = "password.reset_requested"


def request_reset(email: str, address: str) -> None:
    """Queue a letter with a one-time URL, if the e-mail address belongs to somebody.

    Whether it does is looked up by the worker: the answer takes as long for everybody (AUTH-13). Raises
    TooManyAttemptsError for an IP address that asks (or fails to sign in) all the time.
    """
    wait = throttle.seconds_to_wait(RESET_JOB, address)
    if wait:
        raise TooManyAttemptsError(wait)
    throttle.count_attempt(f"{RESET_JOB} {email.strip().lower()}", address)
    sealed = base64.b64encode(seal_secret(RESET_JOB, email.strip().lower().encode())).decode()
    enqueue(RESET_JOB, {"sealed": sealed})


def send_reset(sealed: str) -> None:
    """Send the letter that `request_reset` queued; nothing for an unknown or closed account."""
    email = open_secret(RESET_JOB, base64.b64decode(sealed)).decode()
    user = User.objects.filter(email__iexact=email, is_active=True).first()
    if user is None or _has_fresh_letter(user):
        return
    token = default_token_generator.make_token(user)
    url = settings.BASE_URL + reverse("password-reset-confirm", args=[user.public_id, token])
    record_for_person(RESET_VERB, user, context=Context.system("password-reset"))
    send_mail(user.email, "password_reset", {"url": url, "minutes": settings.PASSWORD_RESET_TIMEOUT // 60})


def _has_fresh_letter(user: User) -> bool:
    """Return whether a letter went out within five minutes: nobody's mailbox is to be filled by strangers."""
    clinic_ids = [*user.memberships.values_list("clinic_id", flat=True)]
    events = AuditEvent.objects.filter(
        verb=RESET_VERB, object_reference=user.public_id, timestamp__gte=timezone.now() - timedelta(minutes=5)
    )
    return events.filter(clinic_id__in=clinic_ids).exists() or events.filter(clinic_id=None).exists()


def find_reset(public_id: str, token: str) -> User | None:
    """Return the person whose unused, fresh reset token this is, else None."""
    user = User.objects.filter(public_id=public_id, is_active=True).first()
    # The token is checked for nobody too, so that an unknown id takes as long.
    return user if default_token_generator.check_token(user or User(pk=0), token) else None


@sensitive_variables("password")
def reset_password(user: User, password: str, *, context: Context) -> None:
    """Set a password by a reset token; every session of the person ends. Raises ValidationError."""
    choose_password(user, password, policy_of(user))
    with transaction.atomic():
        save_password(user)
        end_sessions(user)
        record_for_person("password.reset", user, context=context)
        send_mail(user.email, "password_changed", {})


@sensitive_variables("password", "current")
def change_password(user: User, current: str, password: str, *, keep_session: str, context: Context) -> None:
    """Change one's own password; all other sessions end. Raises ValidationError."""
    if not user.check_password(current):
        raise ValidationError({"current": _("This is not your present password.")})
    choose_password(user, password, policy_of(user), may_be_young=False)
    with transaction.atomic():
        save_password(user)
        end_sessions(user, keep=keep_session)
        record_for_person("password.changed", user, context=context)
        send_mail(user.email, "password_changed", {})
