"""Each answer names its record; what cannot be recorded is 503."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client

from apps.access.services import authorise
from apps.accounts.roles import Capability, Rule
from apps.accounts.services import page
from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent

PHI = "MUELLER^CANARY"


def show(request: HttpRequest, clinic_slug: str) -> HttpResponse:
    authorise(request, Capability.STUDY_VIEW, verb="study.viewed")
    return HttpResponse(PHI)


urlpatterns = [page("c/<slug:clinic_slug>/see/", show, Rule.clinic(Capability.STUDY_VIEW), name="see")]


@pytest.fixture(autouse=True)
def _urls(settings) -> None:
    settings.ROOT_URLCONF = __name__


def test_the_answer_names_its_record_AUD_01(as_bob: Client):
    answer = as_bob.get("/c/alpha/see/")
    assert PHI in answer.content.decode()
    assert AuditEvent.objects.get(public_id=answer["X-Audit-Id"]).verb == "study.viewed"


def test_no_record_no_bytes_AUD_02(as_bob: Client, monkeypatch: pytest.MonkeyPatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise AuditUnavailableError

    monkeypatch.setattr("apps.access.services.record", broken)
    answer = as_bob.get("/c/alpha/see/")
    assert answer.status_code == 503
    assert "Retry-After" in answer
    assert PHI not in answer.content.decode()
    assert "X-Audit-Id" not in answer
