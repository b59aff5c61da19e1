"""Letters: sealed while they wait, sent by a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail
from django.core.serializers import serialize

from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.notices.services import send_mail

CONTEXT = {
    "clinic": "Praxis <Nord> & Co",
    "url": "https://viewbox.example/invitation/secret-token/",
    "days": 7,
    "minutes": 60,
    "invited_by": "Alice",
    "device": "phone",
    "left": 3,
}
TEMPLATES = sorted(path.stem for path in (Path(settings.BASE_DIR) / "templates" / "notices").glob("*.txt"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_letter_has_a_subject_and_a_body(db: None, template: str):
    send_mail("nina@alpha.example", template, CONTEXT)
    process_until_idle()
    letter = mail.outbox[0]
    assert letter.to == ["nina@alpha.example"]
    assert letter.subject
    assert "\n" not in letter.subject
    assert len(letter.body) > 40
    assert "&lt;" not in f"{letter.subject} {letter.body}"


def test_a_waiting_letter_shows_neither_address_nor_token(db: None):
    send_mail("nina@alpha.example", "invitation", CONTEXT)
    waiting = serialize("json", Job.objects.all())
    assert "nina" not in waiting
    assert "secret-token" not in waiting


def test_a_subject_cannot_carry_headers(db: None):
    send_mail("nina@alpha.example", "invitation", {**CONTEXT, "clinic": "Praxis\nBcc: evil@x.example"})
    process_until_idle()
    assert all(letter.recipients() == ["nina@alpha.example"] for letter in mail.outbox)
