"""Invitations: one-time addresses, and nothing else leads to an account."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.core import mail
from django.core.management import CommandError, call_command
from django.core.serializers import serialize
from django.test import Client
from django.utils import timezone

from apps.accounts.models import ApiToken, Invitation, Membership, User
from apps.accounts.roles import Role
from apps.accounts.tokens import find_token
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from tests.conftest import PASSWORD, make_person, signed_in

GOOD = "vK8$wq!Zp3Lm-Rt9"
FORM = {"name": "Nina Newcomer", "password": GOOD, "repeated": GOOD}


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def path_of(url: str) -> str:
    return url.strip().removeprefix("http://testserver")


def test_an_owner_comes_in_by_the_printed_address(db: None, client: Client):
    path = path_of(run("create_clinic", "gamma", "--name", "Gamma Imaging", "--owner", "Olga@Gamma.example"))
    page = client.get(path)
    assert b"Gamma Imaging" in page.content
    answer = client.post(path, FORM)
    assert answer.url == "/sign-in/enrol/"
    owner = User.objects.get()
    assert owner.email == "olga@gamma.example"
    assert Membership.objects.get().role == Role.OWNER
    assert client.get("/c/gamma/members/").url.startswith("/sign-in/enrol/"), "the second factor is still missing"
    assert client.post(path, FORM).status_code == 404, "works once"
    assert Client().get(path).status_code == 404


def test_two_at_once_have_one_winner(db: None):
    path = path_of(run("create_clinic", "gamma", "--name", "Gamma", "--owner", "olga@gamma.example"))
    invitation = Invitation.objects.get()
    Invitation.objects.filter(pk=invitation.pk).update(accepted_at=timezone.now())
    assert Client().post(path, FORM).status_code == 404
    assert not User.objects.exists()


def test_fresh_installation_has_nobody_AUTH_14(db: None):
    assert User.objects.count() == 0


def test_first_platform_admin_comes_by_a_token_of_thirty_minutes_AUTH_14(db: None, client: Client):
    path = path_of(run("create_platform_admin", "root@viewbox.example"))
    with time_machine.travel(timezone.now() + timedelta(minutes=31)):
        assert client.get(path).status_code == 404
    assert client.post(path, FORM).url == "/sign-in/enrol/"
    assert User.objects.get().is_platform_admin
    assert client.get("/admin/").url.startswith("/sign-in/enrol/")
    assert Client().post(path, FORM).status_code == 404, "works once"


def test_tokens_lie_nowhere_in_the_clear(as_alice: Client, alice: User):
    as_alice.post("/c/alpha/members/invite/", {"email": "nina@alpha.example", "role": "physician"})
    dump = serialize("json", [*Invitation.objects.all(), *Job.objects.all()])
    process_until_idle()
    letter = mail.outbox[0]
    token = re.search(r"/invitation/([\w-]+)/", letter.body)
    assert token
    assert letter.to == ["nina@alpha.example"]
    assert "Alpha Imaging" in letter.subject
    assert token[1] not in dump
    assert "nina@alpha.example" not in serialize("json", Job.objects.all())
    assert token[1] not in str(list(AuditEvent.objects.values()))


def test_somebody_with_an_account_joins_by_signing_in(as_alice: Client, charlie: User, clinic_a: Clinic):
    as_alice.post("/c/alpha/members/invite/", {"email": charlie.email, "role": "uploader"})
    process_until_idle()
    path = re.search(r"/invitation/[\w-]+/", mail.outbox[0].body)
    assert path
    stranger = Client()
    assert b"Sign in" in stranger.get(path[0]).content
    stranger.post(path[0], FORM)
    assert not Membership.objects.filter(user=charlie, clinic=clinic_a).exists()
    as_alice.post(path[0])
    assert not Membership.objects.filter(user=charlie, clinic=clinic_a).exists(), "not somebody else's to accept"
    assert signed_in(charlie).post(path[0]).status_code == 302
    assert Membership.objects.get(user=charlie, clinic=clinic_a).role == Role.UPLOADER
    assert charlie.check_password(PASSWORD)


def test_inviting_again_replaces_the_first_address(as_alice: Client, clinic_a: Clinic):
    for _ in range(2):
        as_alice.post("/c/alpha/members/invite/", {"email": "nina@alpha.example", "role": "physician"})
    process_until_idle()
    first, second = (re.search(r"/invitation/[\w-]+/", letter.body)[0] for letter in mail.outbox)
    assert Client().get(first).status_code == 404
    assert Client().get(second).status_code == 200


def test_a_withdrawn_invitation_opens_nothing(as_alice: Client, as_charlie: Client):
    as_alice.post("/c/alpha/members/invite/", {"email": "nina@alpha.example", "role": "physician"})
    invitation = Invitation.objects.get()
    path = f"/c/alpha/members/invitations/{invitation.public_id}/withdraw/"
    foreign = f"/c/beta/members/invitations/{invitation.public_id}/withdraw/"
    assert as_charlie.post(foreign).status_code == 404
    assert as_alice.post(path).status_code == 302
    assert not Invitation.objects.exists()


def test_forms_set_nothing_but_their_fields_AUTHZ_09(db: None, client: Client):
    path = path_of(run("create_clinic", "gamma", "--name", "Gamma", "--owner", "olga@gamma.example"))
    extra = {"email": "evil@x.example", "is_staff": "on", "role": "owner", "clinic": "1", "is_superuser": "on"}
    client.post(path, {**FORM, **extra})
    user = User.objects.get()
    assert (user.email, user.is_staff) == ("olga@gamma.example", False)


@pytest.mark.parametrize("slug", ["A b", "x", "ümlaut", "../etc"])
def test_a_bad_slug_is_said_plainly(db: None, slug: str):
    with pytest.raises(CommandError):
        run("create_clinic", slug, "--name", "X", "--owner", "o@x.example")
    assert not Clinic.objects.exists()


def test_the_token_command_prints_the_token_and_nothing_else(clinic_a: Clinic):
    printed = run("create_api_token", "--clinic", "alpha", "--scopes", "read,write", "--days", "3")
    secret = printed.removesuffix("\n")
    token = find_token(secret)
    assert token
    assert token.clinic == clinic_a
    assert secret not in serialize("json", ApiToken.objects.all())
    with time_machine.travel(timezone.now() + timedelta(days=3, minutes=1)):
        assert find_token(secret) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--clinic", "none", "--scopes", "read"),
        ("--clinic", "alpha", "--scopes", "admin"),
        ("--clinic", "alpha", "--scopes", ""),
        ("--clinic", "alpha", "--scopes", "read", "--days", "0"),
    ],
)
def test_the_token_command_refuses_nonsense(clinic_a: Clinic, arguments: tuple[str, ...]):
    with pytest.raises(CommandError):
        run("create_api_token", *arguments)
    assert not ApiToken.objects.exists()


def test_seats_run_out_at_the_plans_limit(as_alice: Client, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("apps.billing.services._allowed", lambda plan, limit: 2)
    invite = "/c/alpha/members/invite/"
    assert as_alice.post(invite, {"email": "one@alpha.example", "role": "physician"}).status_code == 302
    refused = as_alice.post(invite, {"email": "two@alpha.example", "role": "physician"})
    assert refused.status_code == 422
    assert Invitation.objects.count() == 1


def test_members_page_names_nobody_of_another_clinic(as_alice: Client, charlie: User, clinic_b: Clinic):
    assert b"Charlie" not in as_alice.get("/c/alpha/members/").content
    other = Membership.objects.get(user=charlie)
    assert as_alice.get(f"/c/alpha/members/{other.public_id}/").status_code == 404


def test_the_last_owner_stays(as_alice: Client, alice: User, clinic_a: Clinic, password_hash: str):
    mine = Membership.objects.get(user=alice)
    path = f"/c/alpha/members/{mine.public_id}/"
    assert as_alice.post(path, {"role": "physician"}).status_code == 422
    as_alice.post(f"{path}remove/")
    assert Membership.objects.filter(user=alice).exists()
    make_person("olga@alpha.example", "Olga", password_hash, clinic=clinic_a, role=Role.OWNER)
    assert as_alice.post(path, {"role": "physician"}).status_code == 302
    assert as_alice.get(path).status_code == 403, "the new role holds from the next request on (AUTHZ-08)"


def test_a_removed_member_finds_nothing_at_once_AUTHZ_08(as_alice: Client, as_bob: Client, bob: User):
    place = Membership.objects.get(user=bob)
    assert as_bob.get("/c/alpha/upload/").status_code == 200
    as_alice.post(f"/c/alpha/members/{place.public_id}/remove/")
    assert as_bob.get("/c/alpha/upload/").status_code == 404


def test_limited_members_are_granted_pages_by_their_address(as_alice: Client, as_bob: Client, bob: User):
    place = Membership.objects.get(user=bob)
    path, reference = f"/c/alpha/members/{place.public_id}/", "S" * 22
    assert as_alice.post(path, {"role": "uploader", "is_limited": "on"}).status_code == 422
    as_alice.post(path, {"role": "physician", "is_limited": "on"})
    assert as_bob.get("/c/alpha/upload/").status_code == 403
    for wrong in ("https://x.example/", f"/c/beta/studies/{reference}/", "/c/alpha/studies/short/"):
        assert as_alice.post(f"{path}grants/", {"address": wrong}).status_code == 422
    answer = as_alice.post(f"{path}grants/", {"address": f"http://testserver/c/alpha/studies/{reference}/"})
    assert answer.status_code == 302
    assert [(grant.kind, grant.reference) for grant in place.grants.all()] == [("study", reference)]
    as_alice.post(f"{path}grants/{reference}/remove/")
    assert not place.grants.exists()
