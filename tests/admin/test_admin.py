"""Django admin: for the installation's staff, behind both factors, without a patient and without a secret."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import flatten_fieldsets
from django.db import models
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from apps.accounts.models import ApiToken, Invitation, Membership, User, UserSession
from apps.accounts.roles import PLATFORM_PERMISSIONS
from apps.audit.models import AuditEvent
from apps.audit.services import Context, record, seal_events
from apps.backup.models import Alarm, DatabaseCopy
from apps.billing.models import Plan, Subscription
from apps.billing.services import current_plan
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.ingest.models import Upload, UploadBatch
from apps.jobs.models import Job, Periodic, WorkerPulse
from apps.links.models import Link
from apps.patients.models import Patient
from apps.storage.models import Usage

ADMINS = sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
IDS = [model._meta.label for model, _ in ADMINS]
CANARY = "Zebrafinch"

# Names of columns that say something about a patient or a study, or that quote what a sender wrote.
PHI = re.compile(
    r"(?<!audit_)patient_(?!reference)|dicom_|birth|\bsex\b|issuer_of|accession|referring|description|study_date|_uid$|"
    r"\bmessage\b|\bnote\b|payload|body_part|diagnos|file_?name"
)
SECRET = re.compile(
    r"password(?!_changed_at|_max_age_days)|seed|token_|secret|digest(?<!root_digest)|pin_|wrapped|session_key|sha256|header"
)


def columns_of(model_admin: ModelAdmin[Any]) -> set[str]:
    """Everything that an admin page shows, searches, filters, sorts or lets people edit."""
    request = RequestFactory().get("/")
    request.user = User(is_staff=True)
    names: set[str] = set(map(str, model_admin.get_list_display(request)))
    names |= set(map(str, model_admin.get_search_fields(request)))
    names |= set(map(str, model_admin.get_ordering(request)))
    names |= set(map(str, flatten_fieldsets(model_admin.get_fieldsets(request))))
    names |= set(map(str, model_admin.get_readonly_fields(request)))
    names |= {str(model_admin.date_hierarchy)} if model_admin.date_hierarchy else set()
    for entry in model_admin.get_list_filter(request):
        names.add(str(entry[0] if isinstance(entry, tuple) else getattr(entry, "parameter_name", entry)))
    for inline in model_admin.get_inline_instances(request):
        names |= set(map(str, inline.fields or ())) | set(map(str, inline.readonly_fields))
    return names


# --- what is on the pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_no_admin_shows_searches_or_filters_by_phi_AUTHZ_11(
    model: type[models.Model], model_admin: ModelAdmin[Any]
) -> None:
    names = columns_of(model_admin)
    assert not {name for name in names if PHI.search(name)}
    assert not {name for name in names if SECRET.search(name)}


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_every_admin_names_its_fields_ADM_01(model: type[models.Model], model_admin: ModelAdmin[Any]) -> None:
    assert model_admin.fields, "without a list a new column would appear by itself"
    for inline in model_admin.inlines:
        assert inline.fields
        assert set(inline.fields) == set(inline.readonly_fields)


def test_clinical_models_and_libraries_have_no_admin_AUTHZ_11() -> None:
    registered = {model._meta.label for model in admin.site._registry}
    assert {label.split(".", maxsplit=1)[0] for label in registered} <= {
        "accounts",
        "audit",
        "backup",
        "billing",
        "clinics",
        "ingest",
        "jobs",
        "links",
        "storage",
    }
    assert "storage.Blob" not in registered
    assert "accounts.RecoveryCode" not in registered
    assert "accounts.PasswordHistory" not in registered


def test_a_guard_that_catches_something() -> None:
    for name in ("patient_name", "dicom_patient_id", "study_description", "sop_instance_uid", "message", "file_name"):
        assert PHI.search(name)
    for name in ("password", "sealed_seed", "token_sha256", "session_key", "wrapped_key", "pin_hash"):
        assert SECRET.search(name)


@pytest.fixture
def populated(clinic_a: Clinic, alice: User, bob: User, clinic_b: Clinic) -> None:
    """At least one row behind every admin, with a patient whose name must appear nowhere."""
    with clinic_scope(clinic_a):
        Patient.objects.create(clinic=clinic_a, dicom_patient_id=f"{CANARY}-1", patient_name=f"{CANARY}^Zoe")
        batch = UploadBatch.objects.create(clinic=clinic_a, source=UploadBatch.Source.WEB, created_by=alice)
        Upload.objects.create(
            clinic=clinic_a,
            batch=batch,
            name=f"{CANARY}.dcm",
            state=Upload.State.REJECTED,
            code="truncated",
            message=f"{CANARY} says so",
            sop_instance_uid="1.2.3.4",
            size_bytes=77,
        )
        Usage.objects.update_or_create(clinic=clinic_a, defaults={"stored_bytes": 77, "blob_count": 1})
    soon = timezone.now() + timedelta(days=1)
    Job.objects.create(kind="ingest.process", clinic=clinic_a, payload={"name": CANARY}, state=Job.State.FAILED)
    DatabaseCopy.objects.create(place="replica-nas", code="storage-full")
    Alarm.objects.create(code="copy-late", item="replica-nas", message=f"{CANARY} says so")
    Periodic.objects.create(name="audit.seal", started_at=timezone.now())
    WorkerPulse.objects.create(name="worker-1", seen_at=timezone.now())
    Link.objects.create(clinic=clinic_a, token_sha256=b"1" * 32, expires_at=soon)
    ApiToken.objects.create(clinic=clinic_a, name=CANARY, token_sha256=b"2" * 32, scopes="read")
    Invitation.objects.create(clinic=clinic_a, email="new@alpha.example", token_sha256=b"3" * 32, expires_at=soon)
    record("study.viewed", context=Context.system("test"), clinic_id=clinic_a.pk, details={"study_count": 1})
    seal_events()


def first_row(model_admin: ModelAdmin[Any], user: User) -> models.Model | None:
    request = RequestFactory().get("/")
    request.user = user
    row: models.Model | None = model_admin.get_queryset(request).order_by("pk").first()
    return row


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_every_page_opens_and_names_no_patient_AUTHZ_11(
    as_platform_admin: Client,
    platform_admin: User,
    populated: None,
    model: type[models.Model],
    model_admin: ModelAdmin[Any],
) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    pages = [reverse(f"{name}_changelist"), reverse(f"{name}_changelist") + "?q=a"]
    row = first_row(model_admin, platform_admin)
    assert row is not None, "a page without a row proves nothing"
    if row is not None:
        pages += [reverse(f"{name}_change", args=[row.pk]), reverse(f"{name}_history", args=[row.pk])]
    for page in pages:
        response = as_platform_admin.get(page)
        assert response.status_code == 200, page
        text = response.content.decode()
        assert CANARY not in text
        assert "argon2" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")|\son\w+=|style=\"", text), page


@pytest.mark.parametrize(("model", "model_admin"), ADMINS, ids=IDS)
def test_nothing_can_be_deleted_here_ADM_01(
    as_platform_admin: Client,
    platform_admin: User,
    populated: None,
    model: type[models.Model],
    model_admin: ModelAdmin[Any],
) -> None:
    row = first_row(model_admin, platform_admin)
    assert row is not None
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    with every_clinic():
        before = model._default_manager.count()
    answer = as_platform_admin.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"})
    assert answer.status_code == 403
    as_platform_admin.post(
        reverse(f"{name}_changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    )
    with every_clinic():
        assert model._default_manager.count() >= before


def test_only_what_is_listed_can_be_added_or_changed_ADM_01(platform_admin: User) -> None:
    request = RequestFactory().get("/")
    request.user = platform_admin
    may = {
        f"{act}:{model._meta.label}"
        for model, model_admin in ADMINS
        for act in ("add", "change", "delete")
        if getattr(model_admin, f"has_{act}_permission")(request)
    }
    assert may == {
        "add:billing.Plan",
        "add:billing.Subscription",
        "change:billing.Plan",
        "change:accounts.User",
        "change:clinics.Clinic",
    }
    for permission in PLATFORM_PERMISSIONS:
        assert platform_admin.has_perm(permission)
    assert not platform_admin.has_perm("patients.view_patient")
    assert not platform_admin.has_perm("accounts.change_membership")


def test_no_page_sets_a_password_ADM_01(as_platform_admin: Client, bob: User) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:auth_user_password_change", args=[bob.pk])
    page = reverse("admin:accounts_user_change", args=[bob.pk])
    before = User.objects.get(pk=bob.pk)
    sent = {"name": "Robert", "locale": "", "is_active": "on", "password": "x", "email": "mallory@evil.example"}
    empty = {
        f"{name}-{part}": "0" for name in ("memberships", "totpdevice_set") for part in ("TOTAL_FORMS", "INITIAL_FORMS")
    }
    assert as_platform_admin.post(page, sent | empty).status_code == 302
    after = User.objects.get(pk=bob.pk)
    assert (after.name, after.password, after.email) == ("Robert", before.password, before.email)


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_strangers_are_sent_to_the_one_sign_in_ADM_01(db: None) -> None:
    response = Client().get(reverse("admin:index"))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("sign-in"))


def test_a_clinics_owner_finds_no_admin_ADM_01(as_alice: Client) -> None:
    for name in ("admin:index", "admin:health", "admin:audit_auditevent_changelist"):
        assert as_alice.get(reverse(name)).status_code == 404


def test_a_password_alone_is_not_enough_ADM_01(platform_admin: User) -> None:
    client = Client()
    client.force_login(platform_admin)
    for name in ("admin:index", "admin:health"):
        response = client.get(reverse(name))
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("verify"))


def test_admin_has_no_sign_in_of_its_own_ADM_01(as_platform_admin: Client) -> None:
    assert as_platform_admin.get(reverse("admin:login"))["Location"].startswith(reverse("sign-in"))
    assert as_platform_admin.get(reverse("admin:password_change"))["Location"] == reverse("password-change")


def test_somebody_who_lost_the_office_is_out_at_once_ADM_01(as_platform_admin: Client, platform_admin: User) -> None:
    assert as_platform_admin.get(reverse("admin:index")).status_code == 200
    platform_admin.is_staff = False
    platform_admin.save()
    assert as_platform_admin.get(reverse("admin:index")).status_code == 404


def test_a_change_asks_for_a_fresh_second_factor_ADM_01(
    as_platform_admin: Client, platform_admin: User, clinic_a: Clinic
) -> None:
    UserSession.objects.filter(user=platform_admin).update(verified_at=timezone.now() - timedelta(minutes=6))
    page = reverse("admin:clinics_clinic_changelist")
    assert as_platform_admin.get(page).status_code == 200
    answer = as_platform_admin.post(page, {"action": "suspend", "_selected_action": [clinic_a.pk]})
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("verify"))
    clinic_a.refresh_from_db()
    assert not clinic_a.is_suspended


# --- what it does -----------------------------------------------------------------------------------------------------


def test_a_plan_change_takes_effect_and_says_who_did_it(
    as_platform_admin: Client, platform_admin: User, clinic_a: Clinic
) -> None:
    page = reverse("admin:billing_subscription_add")
    wanted = {"clinic": clinic_a.pk, "plan": Plan.objects.get(code="centre").pk}
    refused = as_platform_admin.post(page, wanted | {"starts_at_0": "2020-01-01", "starts_at_1": "12:00"})
    assert refused.status_code == 200
    assert "starts_at" in refused.context["adminform"].form.errors
    assert current_plan(clinic_a).code == "free"
    assert as_platform_admin.post(page, wanted | {"starts_at_0": "", "starts_at_1": ""}).status_code == 302
    assert current_plan(clinic_a).code == "centre"
    assert Subscription.objects.filter(clinic=clinic_a).count() == 2
    event = AuditEvent.objects.get(verb="plan.changed")
    assert (event.actor_id, event.clinic_id) == (platform_admin.pk, clinic_a.pk)


def test_a_closed_clinic_lets_nobody_in_and_the_trail_says_who_closed_it(
    as_platform_admin: Client, platform_admin: User, as_alice: Client, clinic_a: Clinic
) -> None:
    page = reverse("admin:clinics_clinic_changelist")
    as_platform_admin.post(page, {"action": "suspend", "_selected_action": [clinic_a.pk]})
    assert as_alice.get("/c/alpha/audit/").status_code == 403
    event = AuditEvent.objects.get(verb="clinic.changed")
    assert (event.actor_id, event.clinic_id) == (platform_admin.pk, clinic_a.pk)
    as_platform_admin.post(page, {"action": "reopen", "_selected_action": [clinic_a.pk]})
    assert as_alice.get("/c/alpha/audit/").status_code == 200


def test_staff_end_somebodys_sessions(as_platform_admin: Client, as_bob: Client, bob: User) -> None:
    assert UserSession.objects.filter(user=bob).exists()
    as_platform_admin.post(
        reverse("admin:accounts_user_changelist"), {"action": "end_sessions", "_selected_action": [bob.pk]}
    )
    assert not UserSession.objects.filter(user=bob).exists()
    assert AuditEvent.objects.filter(verb="session.ended", object_reference=bob.public_id).exists()


def test_staff_cannot_let_themselves_into_a_clinic_AUTHZ_11(
    as_platform_admin: Client, platform_admin: User, clinic_a: Clinic
) -> None:
    answer = as_platform_admin.post(
        reverse("admin:accounts_membership_add"),
        {"user": platform_admin.pk, "clinic": clinic_a.pk, "role": "owner"},
    )
    assert answer.status_code == 403
    page = reverse("admin:accounts_user_change", args=[platform_admin.pk])
    as_platform_admin.post(
        page,
        {
            "name": "Pat",
            "is_active": "on",
            "is_staff": "on",
            "memberships-TOTAL_FORMS": "1",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-user": platform_admin.pk,
            "memberships-0-clinic": clinic_a.pk,
            "memberships-0-role": "owner",
            "totpdevice_set-TOTAL_FORMS": "0",
            "totpdevice_set-INITIAL_FORMS": "0",
        },
    )
    assert not Membership.objects.filter(user=platform_admin).exists()


def test_failed_uploads_of_all_clinics_are_listed_with_their_reason(
    as_platform_admin: Client, populated: None, clinic_b: Clinic
) -> None:
    with clinic_scope(clinic_b):
        batch = UploadBatch.objects.create(clinic=clinic_b, source=UploadBatch.Source.STOW)
        Upload.objects.create(clinic=clinic_b, batch=batch, name="ok.dcm", state=Upload.State.STORED)
        Upload.objects.create(
            clinic=clinic_b, batch=batch, name="b.dcm", state=Upload.State.CONFLICT, code="other-content"
        )
    rows = as_platform_admin.get(reverse("admin:ingest_upload_changelist")).context["cl"].result_list
    assert {(row.clinic.slug, row.state, row.code) for row in rows} == {
        ("alpha", "rejected", "truncated"),
        ("beta", "conflict", "other-content"),
    }


def test_health_page_says_how_storage_jobs_and_trail_are(as_platform_admin: Client, populated: None) -> None:
    response = as_platform_admin.get(reverse("admin:health"))
    assert response.status_code == 200
    assert response.context["storage"]["is_ok"] is True, response.context["storage"]
    assert response.context["jobs"]["failed"] == 1
    assert response.context["trail"]["missing_triggers"] == []
    assert CANARY not in response.content.decode()
