"""The full viewer's page: who gets it, what it is told, and what it may do in the browser."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.studies.models import Study
from apps.viewer import views
from apps.viewer.assets import Build
from apps.viewer.queries import SeriesContent
from tests.sharing.conftest import DESCRIPTION, NAME, foreign_study, make_study, study

__all__ = ["foreign_study", "study"]
pytestmark = pytest.mark.django_db

BUILD = Build("/ohif/0123456789abcdef/", "/ohif/0123456789abcdef/app.js", "/ohif/0123456789abcdef/app.css")
PDF = SeriesContent("2.25.10", "1.2.840.10008.5.1.4.1.1.104.1", has_frames=False)
CT = SeriesContent("2.25.20", "1.2.840.10008.5.1.4.1.1.2", has_frames=True)


@pytest.fixture(autouse=True)
def _built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page depends neither on what was fetched from npm nor on blobs."""
    monkeypatch.setattr(views, "current_build", lambda: BUILD)
    monkeypatch.setattr(views, "contents", lambda study: [PDF, CT])


def path(study: Study) -> str:
    return f"/c/alpha/viewer/{study.public_id}/viewer"


def told(response: HttpResponse) -> dict[str, Any]:
    found = re.search(r'<script id="viewer-configuration" type="application/json">(.*?)</script>', page(response))
    assert found
    return json.loads(found[1])


def page(response: HttpResponse) -> str:
    return response.content.decode()


def directives(response: HttpResponse) -> dict[str, set[str]]:
    parts = [part.split() for part in response["Content-Security-Policy"].split(";") if part.strip()]
    return {name: set(values) for name, *values in parts}


def test_a_member_opens_a_study_and_the_trail_says_so_AUD_01(as_bob: Client, bob: User, study: Study) -> None:
    response = as_bob.get(path(study))
    assert response.status_code == 200
    assert told(response)["study_instance_uid"] == study.study_instance_uid
    event = AuditEvent.objects.get(public_id=response["X-Audit-Id"])
    assert (event.verb, event.actor_reference, event.study_reference) == (
        "study.opened",
        bob.public_id,
        study.public_id,
    )


def test_images_come_before_papers(as_bob: Client, study: Study) -> None:
    assert told(as_bob.get(path(study)))["series_instance_uid"] == CT.series_instance_uid


def test_reloading_finds_the_page_again(as_bob: Client, study: Study) -> None:
    again = as_bob.get(f"{path(study)}?StudyInstanceUIDs={study.study_instance_uid}")
    assert again.status_code == 200
    assert told(again)["base_path"] == path(study).removesuffix("/viewer")
    assert as_bob.get(path(study).replace("/viewer", "/dicomjson")).status_code == 404


def test_whole_slide_images_open_in_their_own_mode(as_bob: Client, clinic_a: Clinic, study: Study) -> None:
    assert told(as_bob.get(path(study)))["mode"] == "viewer"
    with clinic_scope(clinic_a):
        Study.objects.update(modalities_in_study="ANN\\SM")
    opened = told(as_bob.get(path(study).removesuffix("viewer")))
    assert (opened["mode"], opened["quick_url"]) == ("microscopy", "")


def test_a_study_is_compared_with_the_nearest_of_its_kind_before_it(
    as_bob: Client, bob: User, clinic_a: Clinic, study: Study
) -> None:
    newest, x_ray, prior = make_study(clinic_a, 9, study.patient), make_study(clinic_a, 8, study.patient), study
    make_study(clinic_a, 7)
    with clinic_scope(clinic_a):
        Study.objects.filter(pk=x_ray.pk).update(modalities_in_study="DX")
    opened = told(as_bob.get(path(newest)))
    assert opened["prior_study_instance_uid"] == prior.study_instance_uid
    assert opened["compare_url"] == f"{path(newest)}?hangingProtocolId=comparison"
    Membership.objects.filter(user=bob).update(is_limited=True)
    Membership.objects.get(user=bob).grants.create(kind="study", reference=newest.public_id)
    alone = told(as_bob.get(path(newest)))
    assert (alone["prior_study_instance_uid"], alone["compare_url"]) == ("", "")


def test_a_foreign_study_is_not_there(as_charlie: Client, as_bob: Client, study: Study, foreign_study: Study) -> None:
    assert as_bob.get(path(foreign_study)).status_code == 404
    assert as_charlie.get(path(study)).status_code == 404
    assert as_charlie.get(f"/c/beta/viewer/{study.public_id}/viewer").status_code == 404


@pytest.mark.parametrize("role", [Role.UPLOADER, Role.AUDITOR, Role.BILLING])
def test_roles_without_images_get_none(as_bob: Client, bob: User, study: Study, role: Role) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    assert as_bob.get(path(study)).status_code == 403


def test_a_limited_member_sees_what_was_granted(as_bob: Client, bob: User, clinic_a: Clinic, study: Study) -> None:
    other = make_study(clinic_a, 7)
    Membership.objects.filter(user=bob).update(is_limited=True)
    Membership.objects.get(user=bob).grants.create(kind="study", reference=study.public_id)
    assert as_bob.get(path(study)).status_code == 200
    assert as_bob.get(path(other)).status_code == 404


def test_the_page_makes_no_code_from_text_and_asks_no_other_host_WEB_01(as_bob: Client, study: Study) -> None:
    policy = directives(as_bob.get(path(study)))
    assert policy["default-src"] == {"'none'"}
    assert policy["script-src"] == policy["connect-src"] == policy["worker-src"] == {"'self'"}
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == {"'none'"}
    assert [name for name, values in policy.items() if "'unsafe-inline'" in values] == ["style-src"]
    allowed = {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert set().union(*policy.values()) <= allowed


def test_other_pages_keep_the_strict_policy_WEB_01(as_bob: Client, study: Study) -> None:
    assert "'unsafe-inline'" not in as_bob.get("/c/alpha/links/")["Content-Security-Policy"]


def test_nothing_in_the_address_reaches_the_viewer_WEB_09(as_bob: Client, study: Study) -> None:
    evil = "https://evil.example/studies.json"
    response = as_bob.get(
        path(study), {"url": evil, "configUrl": evil, "customization": evil, "StudyInstanceUIDs": "9"}
    )
    assert evil not in page(response)
    configuration = told(response)
    assert configuration["study_instance_uid"] == study.study_instance_uid
    for key in ("assets_url", "base_path", "dicomweb_root", "home_url", "quick_url", "logo_url"):
        assert configuration[key].startswith("/")
        assert not configuration[key].startswith("//")


def test_the_title_goes_into_the_history_and_names_nobody(as_bob: Client, study: Study) -> None:
    text = page(as_bob.get(path(study)))
    assert NAME not in text
    assert DESCRIPTION not in text


def test_a_clinics_name_is_text_WEB_06(as_bob: Client, clinic_a: Clinic, study: Study) -> None:
    clinic_a.name = "</script><script>alert(1)</script>"
    clinic_a.save()
    response = as_bob.get(path(study))
    assert "<script>alert" not in page(response)
    assert told(response)["title"] == clinic_a.name


def test_without_the_viewers_files_the_page_says_what_to_do(
    as_bob: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "current_build", lambda: None)
    response = as_bob.get(path(study))
    assert response.status_code == 503
    assert "apps.viewer.build" in page(response)
