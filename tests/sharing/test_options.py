"""What may be wished for a link besides its studies: when it opens, what it asks, what it shows, who is told."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.jobs.services import process_until_idle
from apps.links import services as links
from apps.links.models import Link, LinkState
from apps.patients.models import Patient
from apps.sharing import services
from apps.sharing.models import ShareLink, Visit
from apps.studies.models import Study
from tests.sharing.conftest import NAME, make_study, principal_for
from tests.sharing.test_recipients import home_of, submit

pytestmark = pytest.mark.django_db

FORM = {"lifetime_days": "7", "factor": "none"}


def make(clinic: Clinic, user: User, study: Study, **wishes: Any) -> services.Shared:
    with clinic_scope(clinic):
        return services.share(principal_for(user, clinic), [study], **({"has_pin": False} | wishes))


def ask(client: Client, study: Study, **fields: str) -> Any:
    return client.post(f"/c/alpha/studies/{study.public_id}/share/", FORM | fields)


def born(study: Study) -> None:
    with clinic_scope(study.clinic):
        Patient.objects.filter(pk=study.patient_id).update(patient_birth_date=date(1961, 4, 12))
        study.refresh_from_db()


def test_the_date_of_birth_opens_and_a_wrong_one_does_not_SHARE_04(
    as_alice: Client, dana: Client, study: Study
) -> None:
    assert ask(as_alice, study, factor="birth-date").status_code == 409
    born(study)
    url = ask(as_alice, study, factor="birth-date").context["url"].removeprefix("http://testserver")
    page = dana.get(url).content.decode()
    assert 'type="date"' in page
    assert "1961" not in page
    assert submit(dana, url, pin="1961-04-13").status_code == 403
    assert submit(dana, url, pin="1961-04-12").status_code == 303
    assert "1961" not in str(list(Link.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_a_code_by_mail_opens_once_and_not_for_long_SHARE_04(as_alice: Client, dana: Client, study: Study) -> None:
    assert ask(as_alice, study, factor="mail-code").status_code == 400
    made = ask(as_alice, study, factor="mail-code", recipient_email="house@example.org")
    url = made.context["url"].removeprefix("http://testserver")
    process_until_idle()
    assert mail.outbox == [], "a look at the page sends nothing"
    dana.get(url)
    assert submit(dana, url, **{"send-code": "1"}).status_code == 200
    process_until_idle()
    [letter] = mail.outbox
    code = re.search(r"\d{6}", letter.subject)[0]  # type: ignore[index]
    assert letter.to == ["house@example.org"]
    assert NAME not in f"{letter.subject} {letter.body}"
    assert "/s/" not in letter.body
    assert code not in str(list(Link.objects.values()))
    with time_machine.travel(timezone.now() + timedelta(minutes=11), tick=False):
        assert submit(dana, url, pin=code).status_code == 403
    assert submit(dana, url, pin=code).status_code == 303
    assert submit(Client(), url, pin=code).status_code == 403, "it opens once"
    for _ in range(5):
        submit(dana, url, **{"send-code": "1"})
    assert submit(dana, url, **{"send-code": "1"}).status_code == 429


@pytest.mark.django_db(transaction=True)
def test_the_link_goes_by_mail_and_the_pin_never_does(as_alice: Client, study: Study) -> None:
    assert ask(as_alice, study, is_mailed="on").status_code == 400
    made = ask(as_alice, study, factor="pin", is_mailed="on", recipient_email="house@example.org")
    process_until_idle()
    letters = [letter for letter in mail.outbox if letter.to == ["house@example.org"]]
    assert len(letters) == 1
    assert made.context["url"].partition("/s/")[2] in letters[0].body
    assert all(made.context["pin"] not in f"{letter.subject} {letter.body}" for letter in mail.outbox)
    assert all(NAME not in f"{letter.subject} {letter.body}" for letter in mail.outbox)
    assert AuditEvent.objects.filter(verb="link.sent").count() == 1


def test_a_link_opens_on_its_day_and_not_before(as_alice: Client, dana: Client, study: Study) -> None:
    day = timezone.localdate() + timedelta(days=3)
    url = ask(as_alice, study, starts_on=day.isoformat()).context["url"].removeprefix("http://testserver")
    link = Link.objects.get()
    assert link.state() == LinkState.WAITING
    assert link.starts_at
    assert link.expires_at - link.starts_at == timedelta(days=7)
    assert dana.get(url).status_code == 404
    with time_machine.travel(link.starts_at + timedelta(minutes=1), tick=False):
        assert dana.get(url).status_code == 200
    for wrong in (timezone.localdate() - timedelta(days=1), timezone.localdate() + timedelta(days=200)):
        assert ask(as_alice, study, starts_on=wrong.isoformat()).status_code == 400


def test_who_opens_it_says_who_they_are_and_what_for_SHARE_15(
    as_alice: Client, dana: Client, clinic_a: Clinic, alice: User, study: Study
) -> None:
    made = make(clinic_a, alice, study, asks_recipient=True, note="look")
    url = f"/s/{made.token}"
    assert "Your name" in dana.get(url).content.decode()
    refused = submit(dana, url, purpose="second opinion")
    assert refused.status_code == 400
    assert Link.objects.get().view_count == 0
    assert submit(dana, url, recipient="Dr. Grace", purpose="second opinion").status_code == 303
    dana.get(home_of(made))
    with clinic_scope(clinic_a):
        visit = Visit.objects.get()
    opened = AuditEvent.objects.get(verb="link.opened")
    assert visit.session_hash == opened.session_hash
    page = as_alice.get(f"/c/alpha/links/{made.share.link.public_id}/").content.decode()
    assert "Dr. Grace" in page
    assert "second opinion" in page
    assert not AuditEvent.objects.filter(additional_data__icontains="Grace").exists()


def test_priors_are_the_earlier_studies_of_this_patient_and_only_when_wished_SHARE_06(
    dana: Client, clinic_a: Clinic, alice: User, study: Study, second_study: Study
) -> None:
    stranger = make_study(clinic_a, 5)
    later = make_study(clinic_a, 9, study.patient)
    paths = [f"studies/{one.public_id}/" for one in (study, second_study, later, stranger)]

    def seen(made: services.Shared) -> list[int]:
        browser = Client()
        browser.post(f"/s/{made.token}")
        return [browser.get(home_of(made) + path).status_code for path in paths]

    assert seen(make(clinic_a, alice, second_study)) == [404, 200, 404, 404]
    made = make(clinic_a, alice, second_study, may_see_priors=True)
    assert seen(made) == [200, 200, 404, 404]
    with clinic_scope(clinic_a):
        # Whoever turns out to be another person takes no priors of theirs along.
        Study.objects.filter(pk=second_study.pk).update(patient=stranger.patient)
        Study.objects.filter(pk=stranger.pk).update(study_date=date(2020, 1, 1))
    assert seen(made) == [200, 200, 404, 404]


def test_the_watermark_says_for_whom_and_when_SHARE_15(clinic_a: Clinic, alice: User, study: Study) -> None:
    plain, marked = make(clinic_a, alice, study), make(clinic_a, alice, study, is_watermarked=True, recipient="Dr. X")
    with clinic_scope(clinic_a):
        assert services.watermark_of(plain.share, "s") == ""
        assert services.watermark_of(marked.share, "s").startswith("Dr. X · ")
        Visit.objects.create(clinic=clinic_a, share=marked.share, session_hash="s", recipient="Dr. Grace")
        said = services.watermark_of(marked.share, "s")
    assert said.startswith("Dr. Grace · ")
    assert str(timezone.localdate().year) in said


@pytest.mark.django_db(transaction=True)
def test_the_maker_hears_of_openings_at_most_once_an_hour(clinic_a: Clinic, alice: User, study: Study) -> None:
    made = make(clinic_a, alice, study, notifies_opening=True)
    for _ in range(3):
        Client().post(f"/s/{made.token}")
    process_until_idle()
    [letter] = [letter for letter in mail.outbox if "opened" in letter.subject]
    assert letter.to == [alice.email]
    assert NAME not in f"{letter.subject} {letter.body}"
    with time_machine.travel(timezone.now() + timedelta(minutes=61), tick=False):
        Client().post(f"/s/{made.token}")
        process_until_idle()
    assert len([letter for letter in mail.outbox if "opened" in letter.subject]) == 2


@pytest.mark.django_db(transaction=True)
def test_people_are_reminded_a_day_before_the_end_and_once(clinic_a: Clinic, alice: User, study: Study) -> None:
    made = make(clinic_a, alice, study, recipient_email="house@example.org")
    short = make(clinic_a, alice, study, lifetime=timedelta(days=1))
    revoked = make(clinic_a, alice, study)
    with clinic_scope(clinic_a):
        services.revoke(principal_for(alice, clinic_a), revoked.share)
    assert links.remind() == 0
    with time_machine.travel(made.share.link.expires_at - timedelta(hours=23), tick=False):
        assert links.remind() == 1
        assert links.remind() == 0
        process_until_idle()
    assert short.share.link.public_id
    told = {letter.to[0]: letter.body for letter in mail.outbox}
    assert set(told) == {alice.email, "house@example.org"}
    assert made.share.link.public_id in told[alice.email]
    assert "/s/" not in "".join(told.values())
    assert "/c/" not in told["house@example.org"]


def test_a_link_is_paused_opened_again_and_given_more_time(
    as_alice: Client, dana: Client, clinic_a: Clinic, alice: User, study: Study
) -> None:
    made = make(clinic_a, alice, study, note="look")
    page = f"/c/alpha/links/{made.share.link.public_id}/"
    submit(dana, f"/s/{made.token}")
    as_alice.post(f"{page}pause/")
    assert dana.get(home_of(made)).status_code == dana.get(f"/s/{made.token}").status_code == 404
    assert "Open it again" in as_alice.get(page).content.decode()
    as_alice.post(f"{page}resume/")
    assert dana.get(home_of(made)).status_code == 200
    as_alice.post(f"{page}extend/", {"lifetime_days": "30"})
    assert Link.objects.get().expires_at > timezone.now() + timedelta(days=29)
    assert as_alice.post(f"{page}extend/", {"lifetime_days": "400"}).status_code == 302
    assert Link.objects.get().expires_at < timezone.now() + timedelta(days=31)
    verbs = set(AuditEvent.objects.filter(object_reference=made.share.link.public_id).values_list("verb", flat=True))
    assert {"link.paused", "link.resumed", "link.extended"} <= verbs


def test_as_many_wrong_answers_as_were_said_freeze_it(
    dana: Client, clinic_a: Clinic, alice: User, study: Study
) -> None:
    made = make(clinic_a, alice, study, has_pin=True, max_attempts=3)
    for _ in range(3):
        last = submit(dana, f"/s/{made.token}", pin="wrong")
    assert last.status_code == 404
    assert Link.objects.get().state() == LinkState.FROZEN


@pytest.mark.parametrize("by", ["study", "patient", "maker", "clinic"])
def test_many_links_are_taken_back_at_once_SHARE_08(
    as_alice: Client, clinic_a: Clinic, alice: User, bob: User, study: Study, second_study: Study, by: str
) -> None:
    stranger = make_study(clinic_a, 5)
    mine, others = make(clinic_a, alice, study), make(clinic_a, bob, second_study)
    apart = make(clinic_a, bob, stranger)
    chosen = {
        "study": ({"study": study.public_id}, {mine}),
        "patient": ({"patient": study.patient.public_id}, {mine, others}),
        "maker": ({"maker": bob.public_id}, {others, apart}),
        "clinic": ({}, {mine, others, apart}),
    }
    wish, expected = chosen[by]
    listed = as_alice.get("/c/alpha/links/", wish).content.decode()
    assert all((one.share.link.public_id in listed) is (one in expected) for one in (mine, others, apart))
    as_alice.post("/c/alpha/links/revoke/", wish)
    gone = set(Link.objects.exclude(revoked_at=None).values_list("public_id", flat=True))
    assert gone == {one.share.link.public_id for one in expected}
    assert AuditEvent.objects.filter(verb="link.revoked").count() == len(expected)


def test_who_shares_takes_back_only_what_is_theirs(
    as_bob: Client, clinic_a: Clinic, alice: User, bob: User, study: Study
) -> None:
    hers, his = make(clinic_a, alice, study), make(clinic_a, bob, study)
    as_bob.post("/c/alpha/links/revoke/")
    assert Link.objects.get(pk=hers.share.link.pk).revoked_at is None
    assert Link.objects.get(pk=his.share.link.pk).revoked_at is not None


def test_a_link_dies_with_its_makers_account_SHARE_16(dana: Client, clinic_a: Clinic, bob: User, study: Study) -> None:
    made = make(clinic_a, bob, study, note="look")
    submit(dana, f"/s/{made.token}")
    assert dana.get(home_of(made)).status_code == 200
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert dana.get(home_of(made)).status_code == dana.get(f"/s/{made.token}").status_code == 404
    assert not links.live_links(clinic_a).exists()


def test_the_card_to_print_has_the_address_and_the_pin_only_when_asked(as_alice: Client, study: Study) -> None:
    made = ask(as_alice, study, factor="pin", recipient="Mrs. Canary")
    page = made.content.decode()
    card = page[page.index("vb-print-card") : page.index("</section>", page.index("vb-print-card"))]
    assert made.context["url"] in card
    assert "data:image/svg" in card
    assert 'class="vb-print-pin"' in card, "hidden by the style sheet until it is ticked"
    assert 'id="print-secret" ' in page
    assert "checked" not in page[page.index('id="print-secret"') :][:80]


@pytest.mark.parametrize(
    "wish", ["may_see_priors", "may_pass_on", "asks_recipient", "is_watermarked", "notifies_opening", "may_download"]
)
def test_every_switch_is_off_unless_it_is_ticked(as_alice: Client, clinic_a: Clinic, study: Study, wish: str) -> None:
    ask(as_alice, study)
    ask(as_alice, study, **{wish: "on"})
    with clinic_scope(clinic_a):
        off, on = ShareLink.objects.order_by("pk")
    assert (getattr(off, wish), getattr(on, wish)) == (False, True)
