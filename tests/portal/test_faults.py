"""A part that does not answer is said plainly, with 503, and nothing leaks."""

import pytest
from django.db import OperationalError
from django.test import Client

from apps.accounts.models import User
from apps.clinics.models import Clinic
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import PlaceUnavailableError


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (KeyUnavailableError("there is no master key"), "cannot be read just now"),
        (PlaceUnavailableError(), "cannot be read just now"),
        (OperationalError("could not connect to 10.0.0.5"), "database does not answer"),
    ],
)
def test_a_page_whose_part_does_not_answer_says_so_ENC_09(
    as_alice: Client, clinic_a: Clinic, alice: User, monkeypatch: pytest.MonkeyPatch, fault: Exception, words: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise fault

    monkeypatch.setattr("apps.studies.views.search_page", fail)
    answer = as_alice.get("/c/alpha/")
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert words in answer.content.decode()
    assert str(fault) not in answer.content.decode()


def test_health_needs_no_database(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readiness_names_the_part_that_does_not_answer(client: Client, db: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    parts = answer.json()["parts"]
    assert parts["database"]
    assert parts["storage"]
    assert not parts["worker"], "no worker runs beside this test"
