"""Mail and webhooks from us: plain text, no PHI, sent by a worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from django.conf import settings
from django.template.loader import render_to_string

from apps.jobs.services import enqueue
from apps.keys.services import seal_secret

PURPOSE = "notices.mail"
WEBHOOK_PURPOSE = "notices.webhook"


def send_mail(to: str, template: str, context: Mapping[str, object]) -> None:
    """Queue the mail `templates/notices/<template>.txt`, whose first line is the subject, in the caller's transaction.

    The rendered mail waits sealed in the job, since it may hold a one-time URL.
    """
    subject, _, body = render_to_string(f"notices/{template}.txt", dict(context)).strip().partition("\n")
    mail = json.dumps({"to": to, "subject": subject.strip(), "body": body.strip() + "\n"})
    sealed = base64.b64encode(seal_secret(PURPOSE, mail.encode())).decode()
    enqueue(PURPOSE, {"sealed": sealed})


def send_webhook(message: Mapping[str, object]) -> None:
    """Queue a message for PORTAL_ALARM_WEBHOOK in the caller's transaction; without one nothing happens."""
    if settings.ALARM_WEBHOOK:
        sealed = base64.b64encode(seal_secret(WEBHOOK_PURPOSE, json.dumps(dict(message)).encode())).decode()
        enqueue(WEBHOOK_PURPOSE, {"sealed": sealed})
