"""The quick viewer's page: what it lists, what it shows first, whose earlier studies stand beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import Membership, User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.studies.models import Instance, Series, Study
from apps.viewer import quick, views
from apps.viewer.assets import QuickBuild
from tests.sharing.conftest import DESCRIPTION, NAME
from tests.studies.files import index, part10
from tests.viewer.test_pages import BUILD, directives, page

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page does not depend on what was fetched from npm."""
    monkeypatch.setattr(views, "current_quick_build", lambda: QuickBuild("/quick/0/boot.js", "/quick/0/main.js"))


@pytest.fixture
def study(clinic_a: Clinic) -> Iterator[Study]:
    """A CT of three images and an earlier study of the same patient; a study of somebody else."""
    with clinic_scope(clinic_a):
        index(
            clinic_a,
            *(
                part10(name=f"i{n}", InstanceNumber=n, PatientName=NAME, StudyDescription=DESCRIPTION)
                for n in (1, 2, 3)
            ),
            part10(study="earlier", series="old", name="o1", PatientName=NAME, StudyDate="20200101"),
            part10(study="other", series="foreign", name="f1", PatientID="P-99", PatientName="Other^One"),
        )
        yield Study.objects.get(study_description=DESCRIPTION)


def path(study: Study) -> str:
    return f"/c/alpha/viewer/{study.public_id}/"


def told(response: HttpResponse) -> dict[str, Any]:
    found = re.search(r'<script id="viewer-data" type="application/json">(.*?)</script>', page(response))
    assert found
    return json.loads(found[1])


def test_it_begins_in_the_middle_and_lists_the_priors(as_bob: Client, study: Study) -> None:
    data = told(as_bob.get(path(study)))
    assert [len(one["series"]) for one in data["studies"]] == [1, 1]
    assert data["studies"][0]["uid"] == study.study_instance_uid
    [series] = data["studies"][0]["series"]
    assert (series["kind"], series["frames"]) == ("image", 3)
    middle = Series.objects.get(public_id=series["reference"]).instances.get(instance_number=2)
    assert data["first"] == {
        "study": 0,
        "series": series["uid"],
        "instance": middle.sop_instance_uid,
        "frame": 1,
    }


def test_the_record_of_the_first_series_is_there_before_its_first_byte_AUD_01(as_bob: Client, study: Study) -> None:
    data = told(as_bob.get(path(study)))
    assert list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))[-2:] == [
        "study.opened",
        "series.viewed",
    ]
    at = f"{data['root']}/studies/{study.study_instance_uid}/series/{data['first']['series']}"
    before = AuditEvent.objects.count()
    for asked in ("/metadata", f"/instances/{data['first']['instance']}/frames/1"):
        answer = as_bob.get(at + asked)
        assert answer.status_code == 200
        assert AuditEvent.objects.get(public_id=answer["X-Audit-Id"]).verb == "series.viewed"
    assert AuditEvent.objects.count() == before


def test_a_limited_member_sees_no_priors_that_were_not_granted(as_bob: Client, bob: User, study: Study) -> None:
    Membership.objects.filter(user=bob).update(is_limited=True)
    Membership.objects.get(user=bob).grants.create(kind="study", reference=study.public_id)
    assert len(told(as_bob.get(path(study)))["studies"]) == 1
    Membership.objects.get(user=bob).grants.create(kind="patient", reference=study.patient.public_id)
    assert len(told(as_bob.get(path(study)))["studies"]) == 2


def test_a_foreign_study_is_not_there(as_charlie: Client, study: Study) -> None:
    assert as_charlie.get(path(study)).status_code == 404


def test_its_policy_is_stricter_than_the_full_viewers_WEB_01(as_bob: Client, study: Study) -> None:
    policy = directives(as_bob.get(path(study)))
    assert policy["default-src"] == policy["object-src"] == {"'none'"}
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == {"'self'"}
    assert "'unsafe-inline'" not in set().union(*policy.values())


def test_the_title_names_nobody(as_bob: Client, study: Study) -> None:
    [title] = re.findall("<title>(.*?)</title>", page(as_bob.get(path(study))))
    assert "Wilhelmina" not in title
    assert DESCRIPTION not in title


def test_both_viewers_lead_to_each_other(as_bob: Client, study: Study) -> None:
    assert f'href="{path(study)}viewer"' in page(as_bob.get(path(study)))


def test_the_middle_frame_of_several_instances_is_counted_over_all_frames(study: Study) -> None:
    series = study.series.get()
    series.instances.update(number_of_frames=0)
    series.instances.filter(instance_number=1).update(number_of_frames=3)
    series.instances.filter(instance_number=3).update(number_of_frames=7)
    series.number_of_frames = 10
    first = quick._first_frame(series)
    assert first
    assert (series.instances.get(instance_number=3).sop_instance_uid, 3) == (first.sop_instance_uid, first.frame)


def test_every_sentence_that_the_scripts_say_is_there() -> None:
    from apps.viewer.quick_build import SOURCES
    from apps.viewer.words import words

    said = "\n".join(path.read_text() for path in SOURCES.glob("*.js"))
    asked = set(re.findall(r'say\("([a-z_]+)"', said)) | set(re.findall(r'"(fault_[a-z]+)"', said))
    asked |= {f"window_{name}" for name in re.findall(r'^  \["([a-z]+)", -?\d+, \d+\]', said, re.MULTILINE)}
    assert asked == set(words())


def test_curves_open_in_the_full_viewer_and_reports_alone_as_a_page(
    as_bob: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "current_build", lambda: BUILD)
    ecg, text = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.88.11"
    for sop_class_uid, told_by in ((ecg, "viewer-configuration"), (text, "Basic Text SR")):
        study.series.update(has_pixels=False, sop_class_uid=sop_class_uid)
        with clinic_scope(study.clinic):
            Instance.objects.filter(series__study=study).update(sop_class_uid=sop_class_uid, number_of_frames=0)
            Series.objects.exclude(study=study).update(has_pixels=False, sop_class_uid=text)
        assert told_by in page(as_bob.get(path(study)))
