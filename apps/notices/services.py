"""Mail and webhooks from us: plain text, no PHI, sent by a worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.template.loader import render_to_string

from apps.jobs.services import enqueue
from apps.keys.services import seal_secret

PURPOSE = "notices.mail"
WEBHOOK_PURPOSE = "notices.webhook"


@dataclass(frozen=True)
class Attachment:
    """A small file that goes along with a mail."""

    name: str
    media_type: str
    content: bytes


def send_mail(to: str, template: str, context: Mapping[str, object], attachments: Sequence[Attachment] = ()) -> None:
    """Queue the mail `templates/notices/<template>.txt`, whose first line is the subject, in the caller's transaction.

    The rendered mail waits sealed in the job with what is attached, since it may hold a one-time URL.
    """
    subject, _, body = render_to_string(f"notices/{template}.txt", dict(context)).strip().partition("\n")
    attached = [
        {"name": each.name, "media_type": each.media_type, "content": base64.b64encode(each.content).decode()}
        for each in attachments
    ]
    mail = {"to": to, "subject": subject.strip(), "body": body.strip() + "\n", "attached": attached}
    sealed = base64.b64encode(seal_secret(PURPOSE, json.dumps(mail).encode())).decode()
    enqueue(PURPOSE, {"sealed": sealed})


def send_webhook(message: Mapping[str, object]) -> None:
    """Queue a message for PORTAL_ALARM_WEBHOOK in the caller's transaction; without one nothing happens."""
    if settings.ALARM_WEBHOOK:
        sealed = base64.b64encode(seal_secret(WEBHOOK_PURPOSE, json.dumps(dict(message)).encode())).decode()
        enqueue(WEBHOOK_PURPOSE, {"sealed": sealed})
