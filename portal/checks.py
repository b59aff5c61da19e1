"""Refuses a configuration that does not hold together or is unsafe in production, and says the fix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register, run_checks
from django.core.exceptions import ImproperlyConfigured

TAG = "portal"
MINIMUM_SECRET_CHARACTERS = 40
MINIMUM_BACKUP_DAYS = 7


@register(TAG, deploy=True)
def check_configuration(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings; an error stops the web server and the workers from starting."""
    found = [*_keys(), *_places()]
    if settings.PRODUCTION:
        found += _production()
    return found


def _keys() -> Iterator[CheckMessage]:
    if len(settings.SECRET_KEY) < MINIMUM_SECRET_CHARACTERS:
        yield Error(
            "There is no secret key of at least 40 characters.",
            hint="Run `manage.py prepare` (embedded), or set PORTAL_SECRET_KEY_FILE to a file with a random text.",
            id="portal.E001",
        )
    if settings.MASTER_KEY and settings.MASTER_KEY_FILE and settings.PRODUCTION:
        yield Error(
            "Both PORTAL_MASTER_KEY and PORTAL_MASTER_KEY_FILE are set.",
            hint="Keep the one that belongs to this installation; a wrong master key reads nothing.",
            id="portal.E002",
        )
    if not settings.MASTER_KEY and not Path(settings.MASTER_KEY_FILE or "-").is_file():
        yield Error(
            "There is no master key.",
            hint="Run `manage.py prepare` (embedded) or `manage.py create_master_key`, and set PORTAL_MASTER_KEY_FILE.",
            id="portal.E003",
        )
    elif settings.MASTER_KEY_FILE and Path(settings.MASTER_KEY_FILE).stat().st_mode & 0o077:
        yield Error(
            "Others on this machine may read the master key file.",
            hint=f"chmod 400 {settings.MASTER_KEY_FILE}",
            id="portal.E004",
        )


def _places() -> Iterator[CheckMessage]:
    taken = [settings.STORAGES["blobs"]["OPTIONS"]]
    for alias, prefix in settings.REPLICAS.items():
        options = settings.STORAGES[alias]["OPTIONS"]
        if not options.get("location") and not options.get("bucket_name"):
            yield Error(
                f"The storage place {alias} has neither a folder nor a bucket.",
                hint=f"Set {prefix}_DIR, or {prefix}_S3_BUCKET and its like.",
                id="portal.E005",
            )
        elif options in taken:
            yield Error(
                f"The storage place {alias} is the same as another one.",
                hint="A copy beside the original dies with it: name another disk or bucket.",
                id="portal.E006",
            )
        taken.append(options)
        if alias in settings.REPLICA_LOCK_DAYS and "bucket_name" not in options:
            yield Error(
                f"The storage place {alias} is a folder and cannot lock its copies.",
                hint=f"Remove {prefix}_LOCK_DAYS, or use a bucket with Object Lock.",
                id="portal.E007",
            )
    if settings.BACKUP_DAYS < MINIMUM_BACKUP_DAYS:
        yield Error(
            "PORTAL_BACKUP_DAYS is below 7: an error noticed after the weekend could not be undone.",
            hint="Set it to 7 or more; 30 is the default.",
            id="portal.E008",
        )
    if settings.PRODUCTION and not settings.REPLICAS:
        yield checks.Warning(
            "There is only one storage place: a disk that dies takes every image along.",
            hint="Set PORTAL_REPLICAS to name a second one.",
            id="portal.W002",
        )


def _production() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Error("PORTAL_DEBUG is on.", hint="Unset it: error pages would show patients.", id="portal.E010")
    if not settings.SECURE:
        yield Error(
            "PORTAL_BASE_URL does not begin with https://.",
            hint="Put a TLS front before the portal (the README shows one) and set PORTAL_BASE_URL to its address.",
            id="portal.E011",
        )
    if "*" in settings.ALLOWED_HOSTS or not set(settings.ALLOWED_HOSTS) - {"127.0.0.1", "localhost", "[::1]"}:
        yield Error(
            "PORTAL_ALLOWED_HOSTS does not name this installation's host.",
            hint="Set it to the host in PORTAL_BASE_URL, for example images.practice.example.",
            id="portal.E012",
        )
    if not os.environ.get("PORTAL_EMAIL_URL"):
        yield Error(
            "No mail server is configured: invitations and alarms would go nowhere.",
            hint="Set PORTAL_EMAIL_URL, for example smtp+tls://user:password@mail.example:587.",
            id="portal.E013",
        )
    if not settings.TRUSTED_PROXY_COUNT:
        yield checks.Warning(
            "PORTAL_TRUSTED_PROXY_COUNT is 0: behind a proxy every visitor has the proxy's address.",
            hint="Set it to the number of reverse proxies of your own, usually 1.",
            id="portal.W001",
        )


def refuse_unsafe_configuration() -> None:
    """Raise ImproperlyConfigured with every error and its fix; the web server and the workers call it at start."""
    errors = [found for found in run_checks(tags=[TAG], include_deployment_checks=True) if found.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(f"{found.id} {found.msg} Fix: {found.hint}" for found in errors))
