"""Late, failed and thin drills, and copies that stand still, are told once by mail and webhook, and when they end."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.backup.alarms import watch
from apps.backup.mailing import mail_reports
from apps.backup.models import Alarm, DatabaseCopy, Drill, MailedReport
from apps.backup.tasks import due_drills, mail_last_month
from apps.clinics.models import Clinic
from apps.exports.services import sign
from apps.jobs.services import process_until_idle

PLACE = "replica-nas"


@pytest.fixture(autouse=True)
def _one_replica(settings: Settings, tmp_path) -> None:
    disk = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "nas")}}
    settings.STORAGES = settings.STORAGES | {PLACE: disk}
    settings.REPLICAS = {PLACE: "PORTAL_REPLICA_NAS"}


@pytest.fixture
def heard(settings: Settings) -> Iterator[list[tuple[str, dict]]]:
    """What a webhook hears: the signature and the message."""
    messages: list[tuple[str, dict]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            right = "sha256=" + hmac.digest(b"hook-secret", body, "sha256").hex()
            messages.append((self.headers["X-Viewbox-Signature"] == right, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.ALARM_WEBHOOK = f"http://127.0.0.1:{server.server_port}/hook"
    settings.ALARM_WEBHOOK_SECRET = "hook-secret"
    yield messages
    server.shutdown()
    server.server_close()


@pytest.fixture
def old_clinic(clinic_a: Clinic) -> Clinic:
    """A clinic that has been there for some days."""
    Clinic.objects.update(created_at=timezone.now() - timedelta(days=3))
    clinic_a.refresh_from_db()
    return clinic_a


def fresh_copy(**changed: object) -> None:
    now = timezone.now()
    values = {"shipped_until": now, "seen_at": now, "code": ""} | changed
    DatabaseCopy.objects.update_or_create(place=PLACE, defaults=values)


def drilled(clinic: Clinic, *failures: dict[str, str], hours_ago: float = 1) -> Drill:
    at = timezone.now() - timedelta(hours=hours_ago)
    content = json.dumps(
        {"failures": list(failures), "clinics": {clinic.public_id: 214}, "until": at.isoformat()}, sort_keys=True
    )
    key, signature = sign(content.encode())
    return Drill.objects.create(
        place=PLACE,
        state="failed" if failures else "passed",
        started_at=at - timedelta(seconds=41),
        finished_at=at,
        content=content,
        public_key=key,
        signature=signature,
        study_count=214,
    )


def codes() -> set[str]:
    watch()
    return set(Alarm.objects.filter(cleared_at=None).values_list("code", flat=True))


def test_nothing_is_told_while_all_is_well(old_clinic: Clinic, alice: User) -> None:
    fresh_copy()
    drilled(old_clinic)
    assert codes() == set()
    assert mail.outbox == []


def test_each_trouble_has_its_alarm_BAK_05(old_clinic: Clinic, alice: User) -> None:
    assert codes() == {"copy-stopped", "drill-late"}
    fresh_copy(shipped_until=timezone.now() - timedelta(minutes=10))
    drilled(old_clinic, hours_ago=30)
    assert codes() == {"copy-late", "drill-late"}
    fresh_copy(code="storage-full")
    drilled(old_clinic, {"item": "snapshot", "code": "backup-damaged", "message": "snapshot is damaged"})
    assert codes() == {"copy-late", "drill-late", "drill-failed"}
    fresh_copy()
    drilled(old_clinic, {"item": "sample", "code": "drill-thin", "message": "Only 3"}, hours_ago=0.5)
    assert codes() == {"drill-late", "drill-thin"}
    fresh_copy(seen_at=timezone.now() - timedelta(minutes=4))
    drilled(old_clinic, hours_ago=0.1)
    assert codes() == {"copy-stopped"}


def test_an_alarm_is_told_once_by_mail_and_webhook_and_once_when_it_is_over_BAK_05(
    old_clinic: Clinic, alice: User, heard: list[tuple[bool, dict]]
) -> None:
    fresh_copy()
    drilled(old_clinic, {"item": "blob x", "code": "blob-missing", "message": "blob x: the stored bytes are missing."})
    drilled(old_clinic, hours_ago=5)
    watch()
    watch()
    process_until_idle()
    [told] = mail.outbox
    assert told.to == [alice.email]
    assert "drill-failed" in told.subject
    assert "blob x" in told.body
    [(is_signed, message)] = heard
    assert is_signed
    assert (message["code"], message["cleared_at"]) == ("drill-failed", None)
    assert "blob x" in message["item"]
    drilled(old_clinic, hours_ago=0)
    watch()
    process_until_idle()
    assert len(mail.outbox) == len(heard) == 2
    assert heard[1][1]["cleared_at"]


def test_a_new_installation_is_not_late(clinic_a: Clinic) -> None:
    assert codes() == set()


def test_drills_are_due_once_a_night_and_when_one_was_missed(old_clinic: Clinic, settings: Settings) -> None:
    night = timezone.now().replace(hour=settings.DRILL_HOUR, minute=5)
    assert due_drills(night) == [PLACE]
    Drill.objects.create(place=PLACE, started_at=night - timedelta(hours=1))
    assert due_drills(night) == []
    noon = night.replace(hour=12)
    assert due_drills(noon) == []
    assert due_drills(noon + timedelta(days=2)) == [PLACE]


def test_the_clinic_sees_the_last_proven_restore_and_takes_the_report(as_alice: Client, old_clinic: Clinic) -> None:
    drilled(old_clinic)
    assert "214 studies, 41 s" in as_alice.get("/c/alpha/").content.decode()
    page = as_alice.get("/c/alpha/backups/")
    assert page.status_code == 200
    assert "does not hold" not in page.content.decode()
    report = as_alice.get("/c/alpha/backups/report.pdf")
    assert report["Content-Type"] == "application/pdf"
    assert report.content.startswith(b"%PDF-")
    for month in ("2026-13", "x", "9999-01"):
        assert as_alice.get(f"/c/alpha/backups/report.pdf?month={month}").status_code == 404


def test_a_report_that_was_changed_shows_so(as_alice: Client, old_clinic: Clinic) -> None:
    drill = drilled(old_clinic)
    drill.content = drill.content.replace("214", "999")
    drill.save()
    assert "does not hold" in as_alice.get("/c/alpha/backups/").content.decode()


def next_month_day(day: int) -> datetime:
    """A day of the month after this one, at noon."""
    return (timezone.now().replace(day=1, hour=12) + timedelta(days=32)).replace(day=day)


def test_owners_get_the_report_of_the_month_once_by_mail(old_clinic: Clinic, alice: User, bob: User) -> None:
    Clinic.objects.update(created_at=timezone.now().replace(day=1) - timedelta(days=40))
    with time_machine.travel(timezone.now().replace(day=15, hour=12), tick=False):
        drilled(old_clinic)
        drilled(
            old_clinic, {"item": "snapshot", "code": "backup-damaged", "message": "snapshot is damaged"}, hours_ago=30
        )
    assert mail_reports(next_month_day(1)) >= 1
    assert mail_reports(next_month_day(2)) == 0
    mail_last_month()
    process_until_idle()
    letters = [each for each in mail.outbox if each.to == [alice.email]]
    [letter] = [each for each in letters if f"{old_clinic.name}, {timezone.now():%B %Y}" in each.subject]
    assert bob.email not in {address for each in mail.outbox for address in each.to}
    assert "1 of 2 restore drills passed" in letter.body
    assert "/c/alpha/backups/" in letter.body
    [(name, content, media_type)] = letter.attachments
    assert (name, media_type) == (f"alpha-backups-{timezone.now():%Y-%m}.pdf", "application/pdf")
    assert content.startswith(b"%PDF-")
    events = AuditEvent.objects.filter(verb="backup.reported", clinic_id=old_clinic.pk)
    [event] = [each for each in events if each.details["from_date"] == f"{timezone.now():%Y-%m}-01"]
    assert event.details["recipient_count"] == 1
    assert MailedReport.objects.filter(clinic=old_clinic).count() == 2


def test_no_report_is_mailed_of_a_closed_or_a_new_clinic_or_without_backups(
    old_clinic: Clinic, alice: User, settings: Settings
) -> None:
    assert timezone.now() < next_month_day(1)
    Clinic.objects.update(created_at=next_month_day(1))
    assert mail_reports(next_month_day(1)) == 0
    Clinic.objects.update(created_at=timezone.now(), suspended_at=timezone.now())
    assert mail_reports(next_month_day(1)) == 0
    Clinic.objects.update(suspended_at=None)
    replicas, settings.REPLICAS = settings.REPLICAS, {}
    assert mail_reports(next_month_day(1)) == 0
    settings.REPLICAS = replicas
    assert mail_reports(next_month_day(1)) == 1
    assert process_until_idle() == 1
