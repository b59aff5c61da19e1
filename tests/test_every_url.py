"""Every URL declares what it asks for, and gives nothing to whoever lacks it (AUTH-01, AUTHZ-01).

The list is walked from the resolver, so that a new page without a rule, or with a rule that does not hold, fails here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.accounts.models import Membership, User
from apps.accounts.roles import Role, Rule, RuleKind, capabilities_of
from apps.accounts.routing import rule_of
from apps.clinics.models import Clinic
from tests.conftest import make_person, signed_in

SOME_ID = "AAAAAAAAAAAAAAAAAAAAAA"
SOME_UID = "1.2.826.0.1.3680043.8.498.1"
ARGUMENTS = {"clinic_slug": "alpha"}


def walk(patterns: list[URLPattern | URLResolver], route: str = "", inside_admin: bool = False) -> Iterator[tuple]:
    """Yield (route, pattern, whether Django admin made it) of every URL."""
    for pattern in patterns:
        here = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, here, inside_admin or pattern.namespace == "admin")
        else:
            yield here, pattern, inside_admin


EVERY_URL = [(route, pattern, is_admin) for route, pattern, is_admin in walk(get_resolver().url_patterns)]
OURS = [(route, pattern) for route, pattern, is_admin in EVERY_URL if not is_admin]
OF_A_CLINIC = [(r, p) for r, p in OURS if (declared := rule_of(p.callback)) and declared.kind is RuleKind.CLINIC]


def example(route: str, pattern: URLPattern) -> str:
    """A path of this route in clinic A, with ids that do not exist."""
    path = "/" + route
    for name, converter in pattern.pattern.converters.items():
        kind = type(converter).__name__
        value = ARGUMENTS.get(name) or ("1" if kind == "IntConverter" else SOME_UID if "uid" in name else SOME_ID)
        for written in (f"<{name}>", *(f"<{prefix}:{name}>" for prefix in ("str", "slug", "int", "path", "uid"))):
            path = path.replace(written, value)
    assert "<" not in path, f"{route}: a converter this test does not know"
    return path


def rule(pattern: URLPattern) -> Rule:
    found = rule_of(pattern.callback)
    assert found
    return found


def names(urls: list[tuple[str, URLPattern]]) -> list[str]:
    return [pattern.name or route for route, pattern in urls]


@pytest.mark.parametrize(("route", "pattern"), OURS, ids=names(OURS))
def test_every_url_declares_its_rule(route: str, pattern: URLPattern) -> None:
    assert rule_of(pattern.callback), f"{route} declares no rule"


@pytest.mark.parametrize(("route", "pattern"), OF_A_CLINIC, ids=names(OF_A_CLINIC))
def test_strangers_are_sent_to_sign_in_AUTHZ_01(clinic_a: Clinic, route: str, pattern: URLPattern) -> None:
    response = Client().get(example(route, pattern))
    if rule(pattern).api:
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
    else:
        assert response.status_code == 302
        assert response["Location"].startswith("/sign-in/")


@pytest.mark.parametrize(("route", "pattern"), OF_A_CLINIC, ids=names(OF_A_CLINIC))
def test_a_password_alone_opens_nothing_AUTH_01(alice: User, route: str, pattern: URLPattern) -> None:
    client = Client()
    client.force_login(alice, backend="apps.accounts.backends.EmailBackend")
    response = client.get(example(route, pattern))
    assert response.status_code in {302, 401}
    if response.status_code == 302:
        assert response["Location"].startswith(("/second-factor/", "/sign-in/"))


@pytest.mark.parametrize(("route", "pattern"), OF_A_CLINIC, ids=names(OF_A_CLINIC))
def test_another_clinics_people_find_nothing_AUTHZ_01(
    clinic_a: Clinic, as_charlie: Client, route: str, pattern: URLPattern
) -> None:
    path = example(route, pattern)
    foreign, missing = as_charlie.get(path), as_charlie.get(path.replace("/alpha/", "/no-such-clinic/"))
    assert foreign.status_code == missing.status_code == 404
    assert without_request_id(foreign) == without_request_id(missing)


@pytest.mark.parametrize("role", Role.values)
@pytest.mark.parametrize(("route", "pattern"), OF_A_CLINIC, ids=names(OF_A_CLINIC))
def test_a_role_without_the_capability_is_refused_AUTHZ_01(
    clinic_a: Clinic, password_hash: str, role: str, route: str, pattern: URLPattern
) -> None:
    asked = rule(pattern)
    if asked.capability in capabilities_of(role):
        return
    person = make_person(f"{role}@alpha.example", role, password_hash, clinic=clinic_a, role=role)
    assert Membership.objects.filter(user=person).exists()
    assert signed_in(person).get(example(route, pattern)).status_code == 403


@pytest.mark.parametrize(
    ("route", "pattern"), [(r, p) for r, p, is_admin in EVERY_URL if is_admin], ids=lambda value: str(value)[:60]
)
def test_django_admin_is_for_verified_platform_admins_AUTH_01(
    as_alice: Client, platform_admin: User, route: str, pattern: URLPattern
) -> None:
    path = example(route, pattern) if "(?P" not in route else "/admin/app/"
    password_only = Client()
    password_only.force_login(platform_admin, backend="apps.accounts.backends.EmailBackend")
    assert Client().get(path).status_code in {302, 404}
    assert password_only.get(path).status_code in {302, 404}
    assert as_alice.get(path).status_code in {302, 404}


def without_request_id(response: HttpResponse) -> bytes:
    """The page without the one thing that differs between two requests."""
    return response.content.replace(response["X-Request-Id"].encode(), b"")
