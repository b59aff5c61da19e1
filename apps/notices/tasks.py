"""Hand queued mail to the mail server."""

from __future__ import annotations

import base64
import json

from django.core.mail import EmailMessage

from apps.jobs.models import Job
from apps.jobs.services import register
from apps.keys.services import open_secret
from apps.notices.services import PURPOSE


@register(PURPOSE)
def deliver(job: Job) -> None:
    """Send one mail; a mail server that does not answer is tried again (OSError, SMTPException)."""
    mail = json.loads(open_secret(PURPOSE, base64.b64decode(job.payload["sealed"])))
    EmailMessage(subject=mail["subject"], body=mail["body"], to=[mail["to"]]).send()
