"""What stands before every view: the rule of its URL."""

from __future__ import annotations

import pytest
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from apps.accounts import urls as people_urls
from apps.accounts.models import ApiToken, Membership, User, UserSession
from apps.accounts.roles import Capability, Role, Rule, Scope
from apps.accounts.services import client_address, create_api_token, lockout_address, page
from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import scoped_clinic_id
from tests.conftest import make_person, signed_in

PHI = "MUELLER^CANARY"


def show(request: HttpRequest, **kwargs: str) -> HttpResponse:
    return HttpResponse(f"{PHI} {scoped_clinic_id()}")


def bare(request: HttpRequest, **kwargs: str) -> HttpResponse:
    return HttpResponse(PHI)


urlpatterns = [
    page("c/<slug:clinic_slug>/see/", show, Rule.clinic(Capability.STUDY_VIEW), name="see"),
    page(
        "c/<slug:clinic_slug>/api/",
        show,
        Rule.clinic(Capability.STUDY_SEARCH, api=True, post=Capability.UPLOAD_CREATE),
        name="api",
    ),
    page("c/<slug:clinic_slug>/weighty/", show, Rule.clinic(Capability.STUDY_VIEW, step_up=True), name="weighty"),
    page("v/<str:link_id>/", bare, Rule.link(), name="link"),
    page("platform/", bare, Rule.platform(), name="platform"),
    path("undeclared/", bare),
    *people_urls.urlpatterns,
]
handler403 = "portal.views.permission_denied"
handler404 = "portal.views.page_not_found"


@pytest.fixture(autouse=True)
def _urls(settings) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def read_token(clinic_a: Clinic) -> str:
    return create_api_token(clinic_a, [Scope.READ], context=Context.system("test"))[1]


@pytest.fixture
def write_token(clinic_a: Clinic) -> str:
    return create_api_token(clinic_a, [Scope.WRITE], context=Context.system("test"))[1]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_undeclared_urls_do_not_exist_AUTHZ_01(as_alice: Client, as_platform_admin: Client):
    assert as_alice.get("/undeclared/").status_code == 404
    assert as_platform_admin.get("/undeclared/").status_code == 404


def test_a_member_sees_their_clinic_in_its_scope(as_bob: Client, clinic_a: Clinic):
    assert as_bob.get("/c/alpha/see/").content.decode() == f"{PHI} {clinic_a.pk}"


def test_foreign_clinic_answers_as_a_missing_one_and_is_recorded_AUD_08(as_charlie: Client, clinic_a: Clinic):
    foreign, missing = as_charlie.get("/c/alpha/see/"), as_charlie.get("/c/nowhere/see/")
    assert foreign.status_code == missing.status_code == 404
    assert PHI not in foreign.content.decode()
    events = AuditEvent.objects.filter(verb="access.denied")
    assert [(event.clinic_id, event.object_reference, event.outcome) for event in events.order_by("pk")] == [
        (None, "alpha", "denied"),
        (None, "nowhere", "denied"),
    ]


def test_foreign_and_missing_take_the_same_queries_AUTHZ_01(as_charlie: Client, clinic_a: Clinic):
    def queries(slug: str) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            as_charlie.get(f"/c/{slug}/see/")
        return [query["sql"].split()[0] for query in captured]

    assert queries("alpha") == queries("gamma")


def test_a_missing_capability_is_said_plainly_and_recorded(clinic_a: Clinic, password_hash: str):
    person = make_person("u@alpha.example", "Uli", password_hash, clinic=clinic_a, role=Role.UPLOADER)
    answer = signed_in(person).get("/c/alpha/see/")
    assert answer.status_code == 403
    assert "Your role in this clinic does not include it." in answer.content.decode()
    event = AuditEvent.objects.get(verb="access.denied")
    assert (event.clinic_id, event.details["capability"]) == (clinic_a.pk, "study.view")


def test_a_closed_clinic_opens_for_nobody(as_alice: Client, clinic_a: Clinic, read_token: str):
    Clinic.objects.filter(pk=clinic_a.pk).update(suspended_at=timezone.now())
    assert as_alice.get("/c/alpha/see/").status_code == 403
    assert Client().get("/c/alpha/api/", headers=bearer(read_token)).status_code == 403


def test_role_change_holds_from_the_next_request_AUTHZ_08(as_bob: Client, bob: User):
    assert as_bob.get("/c/alpha/see/").status_code == 200
    Membership.objects.filter(user=bob).update(role=Role.BILLING)
    assert as_bob.get("/c/alpha/see/").status_code == 403


def test_strangers_are_redirected_scripts_are_told_401(client: Client, clinic_a: Clinic):
    assert client.get("/c/alpha/see/?q=1").url == "/sign-in/?next=%2Fc%2Falpha%2Fsee%2F%3Fq%3D1"
    assert client.get("/c/alpha/see/", headers={"sec-fetch-dest": "image"}).status_code == 401
    answer = client.get("/c/alpha/see/", headers={"hx-request": "true", "sec-fetch-dest": "empty"})
    assert (answer.status_code, answer["HX-Redirect"][:9]) == (401, "/sign-in/")
    answer = client.get("/c/alpha/api/")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="viewbox"')


def test_platform_rules_are_for_platform_admins(as_alice: Client, as_platform_admin: Client, client: Client):
    assert as_alice.get("/platform/").status_code == 404
    assert client.get("/platform/").status_code == 302
    assert as_platform_admin.get("/platform/").status_code == 200


def test_platform_admins_have_no_way_into_a_clinic_AUTHZ_11(as_platform_admin: Client, clinic_a: Clinic):
    assert as_platform_admin.get("/c/alpha/see/").status_code == 404


def test_scopes_of_tokens_are_enforced_NET_08(client: Client, read_token: str, write_token: str, clinic_b: Clinic):
    assert client.get("/c/alpha/api/", headers=bearer(read_token)).status_code == 200
    assert client.post("/c/alpha/api/", headers=bearer(read_token)).status_code == 403
    assert client.post("/c/alpha/api/", headers=bearer(write_token)).status_code == 200
    assert client.get("/c/alpha/api/", headers=bearer(write_token)).status_code == 403
    assert client.get("/c/beta/api/", headers=bearer(read_token)).status_code == 404
    assert client.get("/c/alpha/api/", headers=bearer(read_token + "x")).status_code == 401
    assert client.get("/c/alpha/see/", headers=bearer(read_token)).status_code == 401, "pages take no tokens"


def test_a_wrong_token_is_not_saved_by_a_session(as_alice: Client):
    """Requests with the header are exempt from CSRF checks, so the session beside it must not count."""
    assert as_alice.get("/c/alpha/api/").status_code == 200
    assert as_alice.get("/c/alpha/api/", headers=bearer("vbx_wrong")).status_code == 401


def test_revoked_token_is_refused_at_once(as_alice: Client, client: Client, read_token: str):
    token = ApiToken.objects.get()
    as_alice.post(f"/c/alpha/tokens/{token.public_id}/revoke/")
    assert client.get("/c/alpha/api/", headers=bearer(read_token)).status_code == 401


def test_tokens_need_no_csrf_sessions_do_WEB_03(alice: User, write_token: str):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/c/alpha/api/", headers=bearer(write_token)).status_code == 200
    strict.cookies["session"] = signed_in(alice).cookies["session"].value
    assert strict.post("/c/alpha/api/").status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
    ],
)
def test_other_sites_may_link_here_but_not_fetch_WEB_03(as_alice: Client, headers: dict[str, str], status: int):
    answer = as_alice.get("/c/alpha/see/", headers=headers)
    assert answer.status_code == status
    assert (PHI in answer.content.decode()) is (status == 200)
    assert as_alice.get("/v/some/", headers=headers).status_code == status


def test_step_up_asks_for_the_factor_again_SESS_07(as_alice: Client, alice: User):
    assert as_alice.get("/c/alpha/weighty/").status_code == 200
    UserSession.objects.update(verified_at=None)
    assert as_alice.get("/c/alpha/weighty/").url == "/sign-in/code/?next=%2Fc%2Falpha%2Fweighty%2F"


def test_links_do_not_look_at_sessions(client: Client, db: None):
    assert client.get("/v/some/").status_code == 200


def test_every_answer_is_numbered(client: Client, db: None):
    first, second = client.get("/sign-in/")["X-Request-Id"], client.get("/sign-in/")["X-Request-Id"]
    assert first != second


def test_what_cannot_be_recorded_is_not_answered_AUD_02(as_charlie: Client, clinic_a: Clinic, monkeypatch):
    def broken(*args: object, **kwargs: object) -> None:
        raise AuditUnavailableError

    monkeypatch.setattr("apps.accounts.gate.record", broken)
    answer = as_charlie.get("/c/alpha/see/")
    assert answer.status_code == 503
    assert answer["Retry-After"]


@pytest.mark.parametrize(
    ("count", "forwarded", "expected"),
    [
        (0, "203.0.113.5", "198.51.100.1"),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "6.6.6.6, 203.0.113.5", "203.0.113.5"),
        (2, "6.6.6.6, 203.0.113.5, 10.0.0.1", "203.0.113.5"),
        (2, "10.0.0.1", "198.51.100.1"),
        (1, "not-an-address", "198.51.100.1"),
        (1, "", "198.51.100.1"),
        (1, "2001:DB8::1", "2001:db8::1"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "::ffff:203.0.113.5", "203.0.113.5"),
    ],
)
def test_client_address_comes_from_our_proxys_hop_AUTH_08(settings, count: int, forwarded: str, expected: str):
    settings.TRUSTED_PROXY_COUNT = count
    request = RequestFactory().get("/", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR="198.51.100.1")
    assert client_address(request) == expected


def test_two_hundred_forged_headers_give_one_address_AUTH_08(settings):
    settings.TRUSTED_PROXY_COUNT = 1
    forged = {
        client_address(RequestFactory().get("/", headers={"x-forwarded-for": f"10.0.{n}.1, 172.16.0.{n}, 203.0.113.5"}))
        for n in range(200)
    }
    assert forged == {"203.0.113.5"}


def test_an_ipv6_client_cannot_hide_in_its_own_network_AUTH_07():
    first, second, other = (
        lockout_address(RequestFactory().get("/", REMOTE_ADDR=address))
        for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1")
    )
    assert first == second != other
    assert lockout_address(RequestFactory().get("/", REMOTE_ADDR="203.0.113.5")) == "203.0.113.5"


def test_api_tells_scripts_in_json_what_is_missing(clinic_a: Clinic, password_hash: str):
    person = make_person("u@alpha.example", "Uli", password_hash, clinic=clinic_a, role=Role.UPLOADER)
    answer = signed_in(person).get("/c/alpha/api/")
    assert (answer.status_code, answer.json()["code"]) == (403, "missing-capability")
