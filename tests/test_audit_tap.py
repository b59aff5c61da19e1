"""A tap on every answer: what shows something of a patient has its record first, and without a record there is none.

Every text and every pixel of the studies is a canary (tests/world.py); pictures and archives count by their type.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import URLPattern

from apps.accounts.roles import RuleKind
from apps.accounts.routing import rule_of
from apps.audit import services
from apps.clinics.models import Clinic
from tests.test_every_url import OURS
from tests.world import (
    NAMING_OBJECTS,
    NUMBERS,
    OF_LINKS,
    Answer,
    World,
    _alpha_of_module,
    alpha,
    as_alice,
    ask,
    bearer,
    holds,
    url_of,
)

__all__ = ["_alpha_of_module", "alpha", "as_alice"]

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("worlds")]

# Types in which a canary cannot be read.
SHOWS_BY_TYPE = ("image/jpeg", "image/png", "application/zip")
NO_OBJECT = {"clinic", "audit"}
LISTS = [pattern for _route, pattern in OURS if set(pattern.pattern.converters) == {"clinic_slug"}]
Walk = list[tuple[URLPattern, str, str]]


def walk_of_clinic(world: World) -> Walk:
    """Every URL of the clinic, lists and objects, both methods."""
    paths = [(pattern, url_of(pattern, "alpha", {})) for pattern in LISTS]
    for _route, pattern in NAMING_OBJECTS:
        rule = rule_of(pattern.callback)
        if rule and rule.kind is RuleKind.CLINIC:
            paths.append((pattern, url_of(pattern, "alpha", world.arguments(pattern.name, 1))))
    paths.append((pattern_named("upload"), f"/c/alpha/upload/?study={world.studies[1].public_id}"))
    return [(pattern, method, url) for pattern, url in paths for method in ("GET", "POST")]


def walk_of_link(world: World) -> Walk:
    return [
        (pattern, method, url_of(pattern, "", world.arguments(pattern.name, 1)))
        for pattern in OF_LINKS
        for method in ("GET", "POST")
    ]


def pattern_named(name: str) -> URLPattern:
    return next(pattern for _route, pattern in OURS if pattern.name == name)


def shows_something(answer: Answer, clinic: Clinic) -> bool:
    kind = answer.response.headers.get("Content-Type", "").partition(";")[0]
    return bool(holds(answer, clinic, *NUMBERS)) or (answer.status < 300 and kind in SHOWS_BY_TYPE)


@dataclass
class Caller:
    """Somebody who may see study 1, and the references by which the trail knows them."""

    client: Client
    reference: str
    walk: Walk
    headers: dict[str, str] = field(default_factory=dict)
    # At least so many answers show something; else the tap hears nothing and proves nothing.
    least: int = 20


def callers(world: World, as_alice: Client) -> dict[str, Caller]:
    assert world.token
    link = world.shares[1].share.link.public_id
    api = [(p, m, url) for p, m, url in walk_of_clinic(world) if (rule := rule_of(p.callback)) and rule.api]
    return {
        "member": Caller(as_alice, world.owner.public_id, walk_of_clinic(world), least=30),
        "token": Caller(Client(), world.token.public_id, api, bearer(world.token_secret)),
        "link": Caller(world.browsers[1], link, walk_of_link(world)),
    }


@pytest.mark.parametrize("kind", ["member", "token", "link"])
def test_what_shows_a_patient_has_its_record_or_is_not_shown_AUD_01_AUD_02(
    alpha: World, as_alice: Client, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Everything is asked twice: while no record can be written, and when it can; nothing covers it from before."""
    caller = callers(alpha, as_alice)[kind]
    shown = 0
    for pattern, method, url in caller.walk:
        with monkeypatch.context() as broken:
            broken.setattr(services, "insert_events", out_of_order)
            refused = ask(caller.client, method, url, **caller.headers)
        answer = ask(caller.client, method, url, **caller.headers)
        assert not shows_something(refused, alpha.clinic), refused
        if shows_something(answer, alpha.clinic):
            shown += 1
            assert is_recorded(answer, pattern, caller.reference, alpha), (answer, answer.event)
            assert refused.status == 503, refused
            assert refused.response["Retry-After"]
            assert refused.event is None
    assert shown >= caller.least


def is_recorded(answer: Answer, pattern: URLPattern, reference: str, world: World) -> bool:
    """Whether the record names who asked, and the object of the URL: for a list, whose list it was."""
    event = answer.event
    if event is None or (event.actor_reference, event.clinic_id, event.outcome) != (
        reference,
        world.clinic.pk,
        "success",
    ):
        return False
    named = {event.object_reference, event.study_reference, event.patient_reference}
    named |= {str(value) for value in (event.additional_data or {}).values()}
    wanted = {world.studies[1].public_id, world.studies[1].patient.public_id, *arguments_of(pattern, world)}
    is_list = set(pattern.pattern.converters) <= {"clinic_slug", "link_id"}
    return bool(named & wanted) or (is_list and event.object_kind in NO_OBJECT)


def arguments_of(pattern: URLPattern, world: World) -> set[str]:
    names = set(pattern.pattern.converters) - {"clinic_slug"}
    return {value for name, value in world.arguments(pattern.name, 1).items() if name in names} if names else set()


def out_of_order(*args: object, **kwargs: object) -> None:
    raise OperationalError("the trail cannot be written")
