"""Plans as dated data, and limits that hold under a race."""

from __future__ import annotations

import datetime
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone, translation

from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.billing.models import Plan, Subscription
from apps.billing.price_lists import add_missing_price_lists
from apps.billing.roles import Limit
from apps.billing.services import (
    LimitReachedError,
    change_plan,
    current_plan,
    plans_on_offer,
    reserve,
    subscribe_default,
    usage,
)
from apps.billing.sizes import decimal_size
from apps.clinics.models import Clinic

GB = 1_000_000_000
PAT = Context("user", "patPatPatPatPatPatPat2", user_email="pat@viewbox.example")


def plan(code: str) -> Plan:
    return Plan.objects.get(code=code)


@pytest.mark.django_db
def test_both_price_lists_are_shipped() -> None:
    lists = {
        locale: [(offer.storage_bytes // GB, offer.monthly_price, offer.currency) for offer in plans_on_offer(locale)]
        for locale in ("en", "de")
    }
    assert lists == {
        "en": [(50, Decimal(0), "USD"), (100, Decimal("49.99"), "USD"), (4000, Decimal("399.99"), "USD")],
        "de": [(100, Decimal(0), "USD"), (500, Decimal("99.99"), "USD"), (2000, Decimal("499.99"), "USD")],
    }
    assert [offer.code for offer in plans_on_offer("fr")] == [offer.code for offer in plans_on_offer("en")]
    assert plans_on_offer("de-AT") == plans_on_offer("de")


@pytest.mark.django_db
def test_an_edited_price_list_is_left_alone() -> None:
    Plan.objects.exclude(code="free").delete()
    assert add_missing_price_lists() == 0
    assert Plan.objects.count() == 1


@pytest.mark.django_db
def test_a_new_price_is_a_new_row_from_its_day_on() -> None:
    old = plan("practice")
    tomorrow = timezone.now().date() + timedelta(days=1)
    new = Plan.objects.create(
        code="practice",
        name="Practice",
        locale="en",
        currency="USD",
        monthly_price=Decimal("59.99"),
        storage_bytes=old.storage_bytes,
        valid_from_date=tomorrow,
    )
    assert old in plans_on_offer("en")
    assert new not in plans_on_offer("en")
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        assert new in plans_on_offer("en")
        assert old not in plans_on_offer("en")


@pytest.mark.django_db
def test_a_new_clinic_begins_on_the_default_of_its_language() -> None:
    english = Clinic.objects.create(slug="north", name="North", locale="en")
    german = Clinic.objects.create(slug="nord", name="Nord", locale="de")
    assert subscribe_default(english, "en").plan.code == "free"
    assert subscribe_default(german, "de").plan.code == "start-de"


@pytest.mark.django_db
def test_a_clinic_that_never_chose_has_the_default() -> None:
    assert current_plan(Clinic.objects.create(slug="nord", name="Nord", locale="de")).code == "start-de"


def test_a_plan_change_holds_at_once_and_says_who_did_it(clinic_a: Clinic) -> None:
    change_plan(clinic_a, plan("centre"), context=PAT)
    assert current_plan(clinic_a).code == "centre"
    event = AuditEvent.objects.get(verb="plan.changed")
    assert (event.clinic_id, event.actor_email) == (clinic_a.pk, "pat@viewbox.example")
    assert event.details["previous_plan"] == "free"
    assert event.details["plan"] == "centre"


def test_a_plan_change_can_be_dated_ahead(clinic_a: Clinic) -> None:
    change_plan(clinic_a, plan("practice"), context=PAT, starts_at=timezone.now() + timedelta(days=10))
    assert current_plan(clinic_a).code == "free"
    with time_machine.travel(timezone.now() + timedelta(days=11)):
        assert current_plan(clinic_a).code == "practice"


def take(clinic: Clinic, amount: int, used: int) -> None:
    with transaction.atomic():
        reserve(clinic, Limit.STORAGE_BYTES, amount, used=lambda: used)


def test_what_fits_exactly_is_let_in_and_one_byte_more_is_not_RATE_02(clinic_a: Clinic) -> None:
    take(clinic_a, 1, 50 * GB - 1)
    with pytest.raises(LimitReachedError) as reached:
        take(clinic_a, 2, 50 * GB - 1)
    assert reached.value.code == "limit-reached"
    assert "50 GB" in str(reached.value)
    assert "readable" in str(reached.value)


def test_the_sentence_speaks_the_readers_language(clinic_a: Clinic) -> None:
    with translation.override("de"):
        assert usage(clinic_a, Limit.STORAGE_BYTES, 12_345_000_000).used_text == "12,3 GB"


def test_a_smaller_plan_only_blocks_adding_RATE_02(clinic_a: Clinic) -> None:
    change_plan(clinic_a, plan("centre"), context=PAT)
    change_plan(clinic_a, plan("free"), context=PAT)
    with pytest.raises(LimitReachedError):
        take(clinic_a, 1, 3000 * GB)
    take(clinic_a, 0, 3000 * GB)
    assert usage(clinic_a, Limit.STORAGE_BYTES, 3000 * GB).percent == 100


def test_an_empty_limit_is_none(clinic_a: Clinic) -> None:
    with transaction.atomic():
        assert reserve(clinic_a, Limit.SEATS, 1, used=lambda: 10_000).allowed is None


def test_seats_and_links_of_a_plan_are_counted(clinic_a: Clinic) -> None:
    small = Plan.objects.create(
        code="small",
        name="Small",
        locale="en",
        currency="USD",
        monthly_price=0,
        storage_bytes=GB,
        seats=2,
        links=1,
        valid_from_date=datetime.date(2024, 1, 1),
    )
    change_plan(clinic_a, small, context=PAT)
    for limit, used in ((Limit.SEATS, 2), (Limit.LINKS, 1)):
        with pytest.raises(LimitReachedError) as reached, transaction.atomic():
            reserve(clinic_a, limit, 1, used=lambda count=used: count)
        assert "Small" in str(reached.value)


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_is_reserved(clinic_a: Clinic) -> None:
    with pytest.raises(TransactionManagementError):
        reserve(clinic_a, Limit.STORAGE_BYTES, 1, used=lambda: 0)


@pytest.mark.django_db(transaction=True)
def test_of_fifty_at_the_last_place_exactly_one_passes_RATE_02(clinic_a: Clinic) -> None:
    """Rows of Subscription stand in for whatever is counted: each winner adds one within its transaction."""
    small = Plan.objects.create(
        code="one",
        name="One",
        locale="en",
        currency="USD",
        monthly_price=0,
        storage_bytes=GB,
        seats=3,
        valid_from_date=datetime.date(2024, 1, 1),
    )
    change_plan(clinic_a, small, context=PAT)
    filler = plan("free")
    later = timezone.now() + timedelta(days=900)

    def used() -> int:
        return Subscription.objects.filter(clinic=clinic_a, starts_at=later).count()

    for _ in range(2):
        Subscription.objects.create(clinic=clinic_a, plan=filler, starts_at=later)
    barrier = threading.Barrier(50)
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            barrier.wait(timeout=60)
            with transaction.atomic():
                reserve(clinic_a, Limit.SEATS, 1, used=used)
                Subscription.objects.bulk_create([Subscription(clinic=clinic_a, plan=filler, starts_at=later)])
            outcomes.append("passed")
        except LimitReachedError:
            outcomes.append("refused")
        except BaseException as error:
            outcomes.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["passed", *["refused"] * 49]
    assert used() == 3


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_500, "1.5 kB"),
        (50 * GB, "50 GB"),
        (49_960_000_000, "49.9 GB"),
        (4_000 * GB, "4,000 GB"),
        (12_500 * GB, "12.5 TB"),
    ],
)
def test_sizes_are_said_as_they_are_sold(size_bytes: int, words: str) -> None:
    with translation.override("en"):
        assert decimal_size(size_bytes) == words
