"""Under a share link: its studies and nothing else, for as long as it holds."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import CAPABILITIES, Role
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicomweb.responses import RECHECK_BYTES, Caller
from apps.links import services as links
from apps.sharing import services as sharing
from apps.studies.models import Study
from tests.dicomweb.conftest import CT_SERIES, STUDY, Api, Sample, body_of, part10, store, uid

pytestmark = pytest.mark.django_db

PRIOR = uid("prior of a shared patient")
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"


def make_link(clinic: Clinic, owner: User, study_instance_uid: str, **options: Any) -> tuple[Api, sharing.Shared]:
    """Share a study and open the link in a fresh browser."""
    context = Context(actor_kind="user", actor_reference=owner.public_id)
    principal = Principal("member", clinic, CAPABILITIES[Role.OWNER], context, owner)
    with clinic_scope(clinic):
        study = Study.objects.select_related("patient").get(study_instance_uid=study_instance_uid)
        shared = sharing.share(principal, [study], has_pin=False, **options)
    link = shared.share.link
    opened = links.redeem(shared.token, "", sharing.KIND, context=Context(actor_kind="anonymous"))
    browser = Client()
    browser.cookies[sharing.cookie_name(link.public_id)] = opened.secret
    return Api(browser, f"/v/{link.public_id}/dicomweb"), shared


@pytest.fixture
def dana(clinic_a: Clinic, alice: User, study: dict[str, Sample]) -> tuple[Api, sharing.Shared]:
    """Holds a link to the study; its patient has another one, which is not shared."""
    store(clinic_a, [part10("MR_small.dcm", "prior", uid("prior series"), study=PRIOR)])
    return make_link(clinic_a, alice, STUDY)


def test_no_filter_finds_more_than_was_shared_SHARE_06(dana: tuple[Api, Any]) -> None:
    api, _ = dana
    others = f"StudyInstanceUID={PRIOR},{STUDY}"
    for query in ("", "?00100020=P-17", "?PatientID=*", f"?{others}", "?PatientName=M*&fuzzymatching=true"):
        assert [one["0020000D"]["Value"][0] for one in api.get(f"studies{query}").json()] == [STUDY], query
        for level in ("series", "instances"):
            assert {one["0020000D"]["Value"][0] for one in api.get(f"{level}{query}").json()} == {STUDY}, query


def test_another_study_of_the_patient_is_not_there_SHARE_06(dana: tuple[Api, Any]) -> None:
    api, _ = dana
    instance = f"studies/{PRIOR}/series/{uid('prior series')}/instances/{uid('prior')}"
    for path in (
        f"studies/{PRIOR}/metadata",
        f"studies/{PRIOR}/series",
        f"{instance}/metadata",
        f"{instance}/frames/1",
    ):
        assert api.get(path).status_code == 404


def test_the_viewer_works_and_the_trail_names_the_link(
    dana: tuple[Api, sharing.Shared], study: dict[str, Sample]
) -> None:
    api, shared = dana
    assert api.get(f"studies/{STUDY}/series/{CT_SERIES}/metadata").status_code == 200
    frame = api.get(f"{study['ct1'].path}/frames/1", OHIF)
    assert frame.status_code == 200
    event = AuditEvent.objects.get(verb="series.viewed")
    assert frame["X-Audit-Id"] == event.public_id
    assert (event.actor_kind, event.actor_reference) == ("link", shared.share.link.public_id)
    assert frame["Referrer-Policy"] == "no-referrer"


def test_metadata_points_back_into_the_link(dana: tuple[Api, sharing.Shared]) -> None:
    api, _ = dana
    text = api.get(f"studies/{STUDY}/series/{CT_SERIES}/metadata").content.decode()
    assert f'"BulkDataURI":"{api.root}/studies/' in text
    assert "/c/alpha" not in text


def test_viewing_is_not_downloading(
    dana: tuple[Api, Any], clinic_a: Clinic, alice: User, study: dict[str, Sample]
) -> None:
    api, _ = dana
    for path in (f"studies/{STUDY}", f"studies/{STUDY}/series/{CT_SERIES}", study["ct1"].path):
        assert api.get(path).status_code == 404
    # A viewer reads a report whole.
    assert api.get(study["report"].path).status_code == 200
    downloader, _ = make_link(clinic_a, alice, STUDY, may_download=True)
    assert body_of(downloader.get(study["ct1"].path, "application/dicom")) == study["ct1"].content


def test_pictures_that_are_drawn_carry_the_links_watermark_SHARE_15(
    dana: tuple[Api, Any], clinic_a: Clinic, alice: User, study: dict[str, Sample]
) -> None:
    marked, _ = make_link(clinic_a, alice, STUDY, is_watermarked=True, recipient="Dr. Grace")
    path = f"{study['ct1'].path}/rendered"
    plain, drawn = (body_of(api.get(path, "image/png")) for api in (dana[0], marked))
    assert plain[:8] == drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert plain != drawn


def test_a_link_stores_nothing(dana: tuple[Api, Any]) -> None:
    api, _ = dana
    assert api.post("studies", b"x", "application/dicom").status_code == 405


def test_taking_a_link_back_works_on_the_next_frame_SHARE_03(
    dana: tuple[Api, sharing.Shared], clinic_a: Clinic, study: dict[str, Sample]
) -> None:
    api, shared = dana
    path = f"{study['ct1'].path}/frames/1"
    assert api.get(path, OHIF).status_code == 200
    with clinic_scope(clinic_a):
        links.revoke(shared.share.link, context=Context.system("tests"), covers=[])
    response = api.get(path, OHIF)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/json"


def test_taking_a_link_back_cuts_off_what_is_being_sent_SHARE_03() -> None:
    class TakenBackError(Exception):
        pass

    def recheck() -> None:
        raise TakenBackError

    caller = Caller(principal=None, root="", recheck=recheck)  # type: ignore[arg-type]
    sent = caller.watched(iter([bytes(RECHECK_BYTES), b"more"]))
    assert len(next(sent)) == RECHECK_BYTES
    with pytest.raises(TakenBackError):
        next(sent)


def test_a_members_session_does_not_help_a_link(dana: tuple[Api, sharing.Shared], as_alice: Client) -> None:
    api, _ = dana
    assert Api(as_alice, api.root).get("studies").status_code == 404
