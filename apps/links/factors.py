"""What opens a link besides its token: a PIN, the patient's date of birth, or a code sent by mail.

Each answer is counted before it is looked at: 5 for one address in 15 minutes, and as many in all as the link allows.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from apps.audit.services import Context, Outcome, record
from apps.keys.services import keyed_digest
from apps.links.errors import TooManyAttemptsError
from apps.links.models import Factor, Link, LinkAttempt, LinkCode
from apps.links.tokens import is_pin, make_pin
from apps.notices.services import send_mail

ATTEMPT_WINDOW: Final = timedelta(minutes=15)
MAX_ATTEMPTS_BY_ADDRESS: Final = 5

CODE_LIFETIME: Final = timedelta(minutes=10)
MAX_CODES: Final = 5
_PURPOSE: Final = "links.code"


def named(*, has_pin: bool, has_birth_date: bool, has_mail_code: bool) -> Factor:
    """Return the factor of these wishes; a PIN goes before the rest."""
    if has_pin:
        return Factor.PIN
    if has_birth_date:
        return Factor.BIRTH_DATE
    return Factor.MAIL_CODE if has_mail_code else Factor.NONE


def send_code(link: Link, context: Context, *, actor: Context) -> None:
    """Mail a fresh one-time code, good for ten minutes; raises TooManyAttemptsError after five in a quarter of an hour.

    The mail says neither whose images these are nor where they open.
    """
    now = timezone.now()
    code = make_pin()
    with transaction.atomic():
        locked = Link.objects.select_for_update(of=("self",)).get(pk=link.pk)
        recent = LinkCode.objects.filter(link=locked, sent_at__gt=now - ATTEMPT_WINDOW).order_by("sent_at")
        sent = list(recent.values_list("sent_at", flat=True))
        if len(sent) >= MAX_CODES:
            raise TooManyAttemptsError(int((sent[0] + ATTEMPT_WINDOW - now).total_seconds()) + 1)
        LinkCode.objects.create(link=locked, digest=_digest(locked, code), sent_at=now)
        record(
            "link.code_sent",
            context=actor,
            clinic_id=link.clinic_id,
            object_kind="link",
            object_reference=link.public_id,
        )
        send_mail(link.recipient_email, "link_code", {"code": code, "minutes": CODE_LIFETIME.seconds // 60})


def check(link: Link, answer: str, context: Context, *, actor: Context) -> LinkAttempt | None:
    """Return the attempt that was counted for this right answer, for the caller to take back; None for a wrong one.

    What is refused is recorded. Raises TooManyAttemptsError.
    """
    try:
        attempt = _count_attempt(link, context)
    except TooManyAttemptsError:
        _record_refusal(link, actor, "too-many-attempts")
        raise
    if attempt is not None and _is_right(link, answer):
        return attempt
    _record_refusal(link, actor, f"wrong-{link.factor}")
    return None


def use_up(link: Link, answer: str) -> bool:
    """Make a one-time code worthless, in the caller's transaction; False when somebody else was faster."""
    if link.factor != Factor.MAIL_CODE:
        return True
    deleted, _rows = LinkCode.objects.filter(link=link, digest=_digest(link, answer)).delete()
    return bool(deleted)


def _is_right(link: Link, answer: str) -> bool:
    if link.factor != Factor.MAIL_CODE:
        return is_pin(answer, link.pin_hash)
    wanted = _digest(link, answer)
    known = LinkCode.objects.filter(link=link, sent_at__gt=timezone.now() - CODE_LIFETIME)
    return any(hmac.compare_digest(wanted, bytes(digest)) for digest in known.values_list("digest", flat=True))


def _digest(link: Link, answer: str) -> bytes:
    return keyed_digest(_PURPOSE, f"{link.public_id} {''.join(answer.split())}".encode())


def _record_refusal(link: Link, actor: Context, reason: str) -> None:
    record(
        "link.refused",
        context=actor,
        clinic_id=link.clinic_id,
        object_kind="link",
        object_reference=link.public_id,
        outcome=Outcome.DENIED,
        details={"reason": reason},
    )


def _count_attempt(link: Link, context: Context) -> LinkAttempt | None:
    """Count a guess before it is looked at; None when the link has had all it gets."""
    now = timezone.now()
    with transaction.atomic():
        locked = Link.objects.select_for_update(of=("self",)).get(pk=link.pk)
        mine = LinkAttempt.objects.filter(
            link=locked, remote_addr=context.remote_addr, attempted_at__gt=now - ATTEMPT_WINDOW
        ).order_by("attempted_at")
        if mine.count() >= MAX_ATTEMPTS_BY_ADDRESS:
            oldest = mine.values_list("attempted_at", flat=True)[0]
            raise TooManyAttemptsError(int((oldest + ATTEMPT_WINDOW - now).total_seconds()) + 1)
        if locked.failed_attempts >= locked.max_attempts:
            return None
        locked.failed_attempts += 1
        locked.save(update_fields=["failed_attempts"])
        return LinkAttempt.objects.create(link=locked, remote_addr=context.remote_addr, attempted_at=now)
