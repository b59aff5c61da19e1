"""Documents beside the images of a link: given to who may download, as a file that does nothing."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.sharing import services
from apps.storage.services import write_blob
from apps.studies.models import Document, Study
from tests.sharing.conftest import principal_for
from tests.sharing.test_recipients import home_of, open_link

pytestmark = pytest.mark.django_db
PDF = b"%PDF-1.7 CANARY letter"


@pytest.fixture
def letter(clinic_a: Clinic, study: Study) -> Document:
    with clinic_scope(clinic_a):
        blob = write_blob(clinic_a, "document", [PDF])
        return Document.objects.create(
            clinic=clinic_a, study=study, blob=blob, title="Letter Übersicht", media_type="application/pdf"
        )


@pytest.mark.parametrize("may_download", [True, False])
def test_a_document_goes_along_where_the_link_allows_it(
    dana: Client, clinic_a: Clinic, alice: User, study: Study, letter: Document, may_download: bool
) -> None:
    with clinic_scope(clinic_a):
        shared = services.share(principal_for(alice, clinic_a), [study], has_pin=False, may_download=may_download)
    open_link(dana, shared)
    answer = dana.get(f"{home_of(shared)}documents/{letter.public_id}/")
    if not may_download:
        assert answer.status_code == 404
        return
    assert answer.getvalue() == PDF
    assert answer["Content-Disposition"].startswith("attachment;")
    assert "sandbox" in answer["Content-Security-Policy"]
    event = AuditEvent.objects.get(public_id=answer["X-Audit-Id"])
    assert (event.verb, event.actor_kind, event.object_reference) == ("document.viewed", "link", letter.public_id)


def test_a_document_of_another_study_is_not_there(
    dana: Client, clinic_a: Clinic, alice: User, second_study: Study, letter: Document
) -> None:
    with clinic_scope(clinic_a):
        shared = services.share(principal_for(alice, clinic_a), [second_study], has_pin=False, may_download=True)
    open_link(dana, shared)
    assert dana.get(f"{home_of(shared)}documents/{letter.public_id}/").status_code == 404
