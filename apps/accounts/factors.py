"""The second factor: authenticators (RFC 6238) and recovery codes."""

from __future__ import annotations

import base64
import secrets
from typing import Any, Final
from urllib.parse import quote, urlencode

import segno
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils import timezone
from django_otp.models import Device

from apps.accounts.errors import LastFactorError, TooManyAttemptsError, WrongCodeError
from apps.accounts.models import RecoveryCode, RecoveryKit, TotpDevice, User
from apps.accounts.trail import record_for_person
from apps.audit.services import Context, Outcome
from apps.notices.services import send_mail

CODE_COUNT: Final = 10
SEED_BYTES: Final = 20  # RFC 4226 4 R6: 160 bits
# Letters that cannot be mistaken for one another; 16 of them are 79 bits.
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def is_verified(user: User | AnonymousUser) -> bool:
    """Return whether this request's session has passed the second factor."""
    return getattr(user, "otp_device", None) is not None


def has_factor(user: User) -> bool:
    """Return whether the person has ever enrolled: then the password alone must not reach the enrolment page."""
    return authenticators(user).exists() or RecoveryKit.objects.filter(user=user).exists()


def authenticators(user: User) -> Any:
    """Return the person's confirmed authenticators, the one used last first."""
    return TotpDevice.objects.filter(user=user, confirmed=True).order_by("-last_used_at", "pk")


def start_enrolment(user: User) -> TotpDevice:
    """Return the person's authenticator that waits for its first code; a new one if there is none."""
    waiting: TotpDevice | None = TotpDevice.objects.filter(user=user, confirmed=False).first()
    if waiting is None:
        seed = TotpDevice.seal_seed(user, secrets.token_bytes(SEED_BYTES))
        waiting = TotpDevice(user=user, confirmed=False, sealed_seed=seed)
        waiting.save()
    return waiting


def manual_key(device: TotpDevice) -> str:
    """Return the seed in base32, in groups of four, for typing instead of photographing."""
    key = base64.b32encode(device.open_seed()).decode().rstrip("=")
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))


def enrolment_qr(device: TotpDevice) -> bytes:
    """Return the QR code as SVG bytes (Key URI Format of Google Authenticator)."""
    issuer = settings.OTP_TOTP_ISSUER
    query = urlencode(
        {
            "secret": manual_key(device).replace(" ", ""),
            "issuer": issuer,
            "algorithm": "SHA1",
            "digits": 6,
            "period": TotpDevice.STEP_SECONDS,
        }
    )
    uri = f"otpauth://totp/{quote(f'{issuer}:{device.user.email}')}?{query}"
    # Dark on white with its quiet zone, in dark mode too: cameras want it so.
    return (
        segno.make(uri, error="m")
        .svg_inline(scale=5, border=4, dark="#000", light="#fff", omitsize=True)
        .replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        .encode()
    )


def confirm_enrolment(device: TotpDevice, name: str, code: str, *, context: Context) -> list[str]:
    """Confirm an authenticator with its first code; return new recovery codes if the person had none, else nothing.

    Raises WrongCodeError and TooManyAttemptsError.
    """
    _verify(device, code)
    with transaction.atomic():
        TotpDevice.objects.filter(pk=device.pk).update(confirmed=True, name=name[:64])
        device.confirmed, device.name = True, name[:64]
        record_for_person("factor.enrolled", device.user, context=context, details={"factor": "totp"})
        send_mail(device.user.email, "factor_enrolled", {"device": device.name})
        if RecoveryKit.objects.filter(user_id=device.user_id).exists():
            return []
        return make_recovery_codes(device.user, context=context)


def make_recovery_codes(user: User, *, context: Context) -> list[str]:
    """Return ten new codes, to be shown once; the old ones stop working."""
    codes = [_make_code() for _number in range(CODE_COUNT)]
    with transaction.atomic():
        kit, _created = RecoveryKit.objects.get_or_create(user=user, defaults={"name": "recovery"})
        kit.codes.all().delete()
        RecoveryCode.objects.bulk_create([RecoveryCode(kit=kit, digest=RecoveryCode.digest_of(code)) for code in codes])
        record_for_person("recovery_codes.created", user, context=context, details={"code_count": CODE_COUNT})
    return codes


def verify_factor(user: User, device_reference: str, code: str, *, context: Context) -> Device:
    """Return the device that accepted the code: the authenticator with this public id, or "recovery".

    Raises WrongCodeError and TooManyAttemptsError. One device's failures never count against another's.
    """
    device: TotpDevice | RecoveryKit | None
    if device_reference == "recovery":
        device = RecoveryKit.objects.filter(user=user).first()
    else:
        device = authenticators(user).filter(public_id=device_reference).first()
    factor = "recovery" if device_reference == "recovery" else "totp"
    if device is None:
        raise WrongCodeError
    try:
        _verify(device, code.strip().replace(" ", "") if factor == "totp" else code)
    except (WrongCodeError, TooManyAttemptsError) as error:
        record_for_person(
            "factor.failed",
            user,
            context=context,
            outcome=Outcome.FAILURE,
            details={"factor": factor, "code": error.code},
        )
        raise
    if isinstance(device, RecoveryKit):
        left = device.codes.count()
        record_for_person("recovery_code.used", user, context=context, details={"left_count": left})
        send_mail(user.email, "recovery_code_used", {"left": left})
    return device


def remove_authenticator(device: TotpDevice, *, context: Context) -> None:
    """Remove an authenticator; sessions that it verified have to show another one. Raises LastFactorError."""
    with transaction.atomic():
        if not authenticators(device.user).exclude(pk=device.pk).exists():
            raise LastFactorError
        name, user = device.name, device.user
        device.delete()
        record_for_person("factor.removed", user, context=context, details={"factor": "totp"})
        send_mail(user.email, "factor_removed", {"device": name})


def _verify(device: TotpDevice | RecoveryKit, code: str) -> None:
    allowed, reason = device.verify_is_allowed()
    if not allowed:
        wait = reason["locked_until"] - timezone.now()
        raise TooManyAttemptsError(max(1, int(wait.total_seconds()) + 1))
    if not device.verify_token(code):
        raise WrongCodeError


def _make_code() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _number in range(16))
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))
