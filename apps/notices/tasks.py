"""Hand queued mail to the mail server, and messages to the webhook."""

from __future__ import annotations

import base64
import json

from django.conf import settings
from django.core.mail import EmailMessage

from apps.jobs.models import Job
from apps.jobs.services import register
from apps.keys.services import open_secret
from apps.notices.services import PURPOSE, WEBHOOK_PURPOSE
from apps.notices.webhooks import post


@register(PURPOSE)
def deliver(job: Job) -> None:
    """Send one mail; a mail server that does not answer is tried again (OSError, SMTPException)."""
    mail = json.loads(open_secret(PURPOSE, base64.b64decode(job.payload["sealed"])))
    message = EmailMessage(subject=mail["subject"], body=mail["body"], to=[mail["to"]])
    # One that was queued by an earlier version has none.
    for each in mail.get("attached", []):
        message.attach(each["name"], base64.b64decode(each["content"]), each["media_type"])
    message.send()


@register(WEBHOOK_PURPOSE)
def deliver_webhook(job: Job) -> None:
    """Post one message; an address that does not take it is tried again (WebhookError)."""
    post(
        settings.ALARM_WEBHOOK,
        open_secret(WEBHOOK_PURPOSE, base64.b64decode(job.payload["sealed"])),
        settings.ALARM_WEBHOOK_SECRET,
    )
