"""The billing page: plan, usage, price list; no patient, and no button that changes anything."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Membership, User
from apps.audit.services import Context
from apps.billing.models import Plan
from apps.billing.services import change_plan
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.storage.models import Usage

PAGE = "/c/alpha/billing/"


def store(clinic: Clinic, stored_bytes: int) -> None:
    with clinic_scope(clinic):
        Usage.objects.update_or_create(clinic=clinic, defaults={"stored_bytes": stored_bytes, "blob_count": 1})


def test_the_page_says_plan_usage_and_prices(as_alice: Client, clinic_a: Clinic) -> None:
    store(clinic_a, 12_300_000_000)
    page = as_alice.get(PAGE).content.decode()
    for words in ("12.3 GB of 50 GB", "Free of charge", "$49.99", "100 GB", "$399.99", "4,000 GB"):
        assert words in page
    assert 'value="24"' in page


def test_a_full_plan_says_that_everything_stays_readable_RATE_02(as_alice: Client, clinic_a: Clinic) -> None:
    store(clinic_a, 60_000_000_000)
    page = as_alice.get(PAGE).content.decode()
    assert "60 GB of 50 GB" in page
    assert "Everything that is here stays readable" in page


def test_a_german_clinic_sees_the_german_list(as_alice: Client, clinic_a: Clinic) -> None:
    change_plan(clinic_a, Plan.objects.get(code="start-de"), context=Context.system("test"))
    page = as_alice.get(PAGE).content.decode()
    assert "Zentrum" in page
    assert "$499.99" in page
    assert "Centre" not in page


def test_a_change_ahead_is_announced(as_alice: Client, clinic_a: Clinic) -> None:
    change_plan(
        clinic_a,
        Plan.objects.get(code="practice"),
        context=Context.system("test"),
        starts_at=timezone.now() + timedelta(days=9),
    )
    response = as_alice.get(PAGE)
    assert response.context["plan"].code == "free"
    assert response.context["upcoming"].plan.code == "practice"
    assert ": Practice" in response.content.decode()


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("billing", 200), ("physician", 403), ("auditor", 403)])
def test_owners_and_the_billing_role_see_it(as_bob: Client, bob: User, role: str, status: int) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    assert as_bob.get(PAGE).status_code == status


def test_people_of_another_clinic_find_nothing(as_charlie: Client, clinic_a: Clinic) -> None:
    assert as_charlie.get(reverse("billing", args=["alpha"])).status_code == 404


def test_the_plan_cannot_be_changed_from_here_AUTHZ_09(as_alice: Client) -> None:
    assert as_alice.post(PAGE, {"plan": Plan.objects.get(code="centre").pk}).status_code == 405
