"""What is not yours does not exist: real objects, asked for by everybody who must not have them (AUTHZ-01, SHARE-06).

Two clinics hold the same UIDs. The list of URLs is walked from the resolver: a new one that names an object fails here
until tests/world.py knows which.
"""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern

from apps.accounts.roles import Role, RuleKind, Scope, capabilities_of
from apps.accounts.routing import rule_of
from apps.accounts.services import create_api_token
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope
from apps.sharing import services as sharing
from tests.conftest import make_person, signed_in
from tests.world import (
    NAMING_OBJECTS,
    NOT_OF_LINKS,
    NUMBERS,
    OF_LINKS,
    OF_REQUESTS,
    Answer,
    World,
    _alpha_of_module,
    _beta_of_module,
    alpha,
    as_alice,
    as_charlie,
    ask_both,
    bearer,
    beta,
    holds,
    missing,
    url_of,
)

__all__ = ["_alpha_of_module", "_beta_of_module", "alpha", "as_alice", "as_charlie", "beta"]

# One worker: the worlds are made once.
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("worlds")]


def is_dicomweb(pattern: URLPattern) -> bool:
    return str(pattern.name).startswith("dicomweb-") and pattern.name != "dicomweb-store-status"


def assert_nothing_there(client: Client, url: str, missing_url: str, **headers: str) -> None:
    """Both methods answer as for what does not exist, and one of them at least says 404."""
    statuses = set()
    for foreign, absent in zip(ask_both(client, url, **headers), ask_both(client, missing_url, **headers), strict=True):
        assert foreign.neutral == absent.neutral, (foreign, absent)
        statuses.add(foreign.status)
    assert 404 in statuses, (url, statuses)
    assert statuses <= {302, 404, 405}, (url, statuses)


def test_every_url_that_names_an_object_is_known_here_AUTHZ_01(alpha: World) -> None:
    for _route, pattern in NAMING_OBJECTS:
        url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))
    assert len(NAMING_OBJECTS) > 60


# The one answers HEAD, PATCH and DELETE alone, the other for reports and documents alone, and these worlds hold images:
# tests of their rooms find them. That of somebody else is not there all the same.
NOT_FOUND_HERE = {"upload-tus-file", "series-paper-file"}


def test_the_owner_finds_every_object_AUTHZ_01(alpha: World, as_alice: Client) -> None:
    """Else the rest of this file would prove nothing."""
    for pattern in NOT_OF_LINKS:
        answers = list(ask_both(as_alice, url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))))
        assert {answer.status for answer in answers} - {404, 405} or pattern.name in NOT_FOUND_HERE, answers
        assert not [answer for answer in answers if answer.status >= 500], answers
    for pattern in OF_LINKS:
        answers = list(ask_both(alpha.browsers[1], url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))))
        assert {answer.status for answer in answers} & {200, 302}, answers


def test_another_clinics_owner_finds_nothing_of_it_AUTHZ_01(alpha: World, beta: World, as_charlie: Client) -> None:
    for pattern in NOT_OF_LINKS:
        theirs = alpha.arguments(pattern.name, 1)
        absent = missing(theirs)
        if "clinic_slug" in pattern.pattern.converters:
            assert_nothing_there(as_charlie, url_of(pattern, "alpha", theirs), url_of(pattern, "nowhere", theirs))
        if not is_dicomweb(pattern):
            assert_nothing_there(as_charlie, url_of(pattern, "beta", theirs), url_of(pattern, "beta", absent))


def test_the_same_uid_in_two_clinics_is_two_studies_AUTHZ_05(alpha: World, beta: World, as_charlie: Client) -> None:
    found = 0
    for pattern in filter(is_dicomweb, NOT_OF_LINKS):
        for answer in ask_both(as_charlie, url_of(pattern, "beta", beta.arguments(pattern.name, 1))):
            assert not holds(answer, alpha.clinic, *NUMBERS), answer
            found += bool(holds(answer, beta.clinic, 1))
    assert found > 5


def test_a_role_reaches_what_it_may_and_nothing_else_AUTHZ_01(alpha: World, password_hash: str) -> None:
    for role in Role.values:
        client = signed_in(make_person(f"{role}@alpha.example", role, password_hash, clinic=alpha.clinic, role=role))
        for pattern in NOT_OF_LINKS:
            rule = rule_of(pattern.callback)
            assert rule
            if rule.kind is not RuleKind.CLINIC:
                continue
            for answer in ask_both(client, url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))):
                if rule.capability_for(answer.method) not in capabilities_of(role):
                    assert answer.status == 403, (role, answer)
                    assert not holds(answer, alpha.clinic, *NUMBERS), (role, answer)
                else:
                    assert answer.status != 403, (role, answer)
                    assert answer.status < 500, (role, answer)


# What another person of the clinic has begun is not listed for a limited member either.
SOMEBODY_ELSES = {"upload-batch", "upload-csv", "upload-progress", "upload-close", "upload-results", "upload-tus-file"}


def test_a_limited_member_finds_only_what_was_granted_AUTHZ_01(alpha: World) -> None:
    assert alpha.member
    client = signed_in(alpha.member.user)
    seen = 0
    for pattern in NOT_OF_LINKS:
        rule = rule_of(pattern.callback)
        assert rule
        if rule.kind is not RuleKind.CLINIC or rule.capability not in alpha.member.capabilities:
            continue
        granted, others = (alpha.arguments(pattern.name, number) for number in (1, 2))
        for answer in ask_both(client, url_of(pattern, "alpha", granted)):
            seen += bool(holds(answer, alpha.clinic, 1))
            assert not holds(answer, alpha.clinic, 2, 3), answer
        if pattern.name not in SOMEBODY_ELSES:
            assert_as_absent(client, url_of(pattern, "alpha", others), url_of(pattern, "alpha", missing(others)))
    assert seen > 8
    for path in ("", "uploads/", "dicomweb/studies", "dicomweb/series", "dicomweb/instances"):
        for answer in ask_both(client, f"/c/alpha/{path}"):
            assert not holds(answer, alpha.clinic, 2, 3), answer
    for path in ("dicomweb/studies?PatientName=CANARY*", "dicomweb/studies?includefield=all"):
        for answer in ask_both(client, f"/c/alpha/{path}"):
            assert not holds(answer, alpha.clinic, 2, 3), answer


def assert_as_absent(client: Client, url: str, missing_url: str) -> None:
    for other, absent in zip(ask_both(client, url), ask_both(client, missing_url), strict=True):
        assert other.neutral == absent.neutral, (other, absent)
        assert other.status >= 400, other


def test_a_link_opens_its_study_and_no_other_SHARE_06(alpha: World) -> None:
    dana = alpha.browsers[1]
    link = {"link_id": alpha.shares[1].share.link.public_id}
    seen = 0
    for pattern in OF_LINKS:
        for answer in ask_both(dana, url_of(pattern, "", alpha.arguments(pattern.name, 1))):
            seen += bool(holds(answer, alpha.clinic, 1))
            assert not holds(answer, alpha.clinic, 2, 3), answer
        other_link = alpha.arguments(pattern.name, 2)
        assert_nothing_there(dana, url_of(pattern, "", other_link), url_of(pattern, "", missing(other_link)))
        if converters_beyond_link(pattern):
            for number in (2, 3):
                theirs = alpha.arguments(pattern.name, number) | link
                absent = missing(theirs) | link
                assert_nothing_there(dana, url_of(pattern, "", theirs), url_of(pattern, "", absent))
    assert seen > 10


def converters_beyond_link(pattern: URLPattern) -> bool:
    return bool(set(pattern.pattern.converters) & {"public_id", "study_instance_uid"})


def test_a_link_opens_nothing_of_the_clinic_SHARE_06(alpha: World) -> None:
    for pattern in NOT_OF_LINKS:
        for answer in ask_both(alpha.browsers[1], url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))):
            assert answer.status in {302, 401, 403}, answer
            assert not holds(answer, alpha.clinic, *NUMBERS), answer


def test_a_member_of_the_clinic_is_nobody_to_a_link_SHARE_06(alpha: World, as_alice: Client) -> None:
    for pattern in OF_LINKS:
        theirs = alpha.arguments(pattern.name, 1)
        assert_nothing_there(as_alice, url_of(pattern, "", theirs), url_of(pattern, "", missing(theirs)))


def test_a_request_for_images_opens_itself_and_nothing_else_SHARE_06(alpha: World, as_alice: Client) -> None:
    erin = alpha.decisions.senders[1]
    seen = 0
    for pattern in OF_REQUESTS:
        for answer in ask_both(erin, url_of(pattern, "", alpha.arguments(pattern.name, 1))):
            seen += answer.status in (200, 201, 204)
            assert answer.status < 500, answer
            # Not even what she has sent herself comes back.
            assert not holds(answer, alpha.clinic, *NUMBERS), answer
        other = alpha.arguments(pattern.name, 2)
        assert_nothing_there(erin, url_of(pattern, "", other), url_of(pattern, "", missing(other)))
        own = alpha.arguments(pattern.name, 1)
        assert_nothing_there(as_alice, url_of(pattern, "", own), url_of(pattern, "", missing(own)))
    assert seen > 3
    for pattern in [*NOT_OF_LINKS, *OF_LINKS]:
        for answer in ask_both(erin, url_of(pattern, "alpha", alpha.arguments(pattern.name, 1))):
            assert answer.status in {302, 401, 403, 404, 405}, answer
            assert not holds(answer, alpha.clinic, *NUMBERS), answer


def test_a_revoked_link_opens_nothing_SHARE_03(alpha: World) -> None:
    shared = alpha.shares[1]
    with clinic_scope(alpha.clinic):
        sharing.revoke(alpha.principal(), shared.share)
    for pattern in OF_LINKS:
        theirs = alpha.arguments(pattern.name, 1)
        assert_nothing_there(alpha.browsers[1], url_of(pattern, "", theirs), url_of(pattern, "", missing(theirs)))
    for path in ("/s/{}", "/s/{}/"):
        unknown = shared.token[:-4] + "AAAA"
        for dead, absent in zip(
            ask_both(alpha.browsers[1], path.format(shared.token)),
            ask_both(alpha.browsers[1], path.format(unknown)),
            strict=True,
        ):
            assert dead.status == 404
            assert dead.neutral == absent.neutral


def test_a_token_of_another_clinic_opens_nothing_AUTHZ_01(alpha: World, beta: World) -> None:
    key = bearer(beta.token_secret)
    for pattern in NOT_OF_LINKS:
        rule = rule_of(pattern.callback)
        assert rule
        theirs = alpha.arguments(pattern.name, 1)
        if rule.kind is not RuleKind.CLINIC:
            continue
        if not rule.api:
            for answer in ask_both(Client(), url_of(pattern, "alpha", theirs), **key):
                assert answer.status == 401, answer
            continue
        assert_nothing_there(Client(), url_of(pattern, "alpha", theirs), url_of(pattern, "nowhere", theirs), **key)
        for answer in ask_both(Client(), url_of(pattern, "beta", theirs), **key):
            assert not holds(answer, alpha.clinic, *NUMBERS), answer
    assert_nothing_there(
        Client(),
        f"/c/beta/dicomweb/stored/{alpha.stow.public_id if alpha.stow else ''}",
        "/c/beta/dicomweb/stored/AAAAAAAAAAAAAAAAAAAAAA",
        **key,
    )


def test_a_tokens_scopes_hold_for_every_object_NET_08(alpha: World) -> None:
    for scope, pixels_wanted in ((Scope.WRITE, False), (Scope.READ, True)):
        _, secret = create_api_token(alpha.clinic, [scope], context=Context.system("tests"))
        answers: list[Answer] = []
        for pattern in filter(is_dicomweb, NOT_OF_LINKS):
            answers += ask_both(Client(), url_of(pattern, "alpha", alpha.arguments(pattern.name, 1)), **bearer(secret))
        assert bool([answer for answer in answers if holds(answer, alpha.clinic, *NUMBERS)]) is pixels_wanted
