"""One of everything that has a URL, in a clinic: what the tests across rooms walk over."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, reverse
from PIL import Image
from pytest_django import DjangoDbBlocker

from apps.access.services import Principal
from apps.accounts import invitations
from apps.accounts import members as memberships
from apps.accounts.models import ApiToken, Grant, Invitation, Membership, TotpDevice, User, UserSession
from apps.accounts.roles import Role, Scope, capabilities_of
from apps.accounts.services import create_api_token
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.models import Export
from apps.exports.services import Format, request_export
from apps.ingest import transfers
from apps.ingest.models import Transfer, UploadBatch
from apps.ingest.services import open_batch, receive, store_now
from apps.jobs.services import process_until_idle
from apps.links import services as links
from apps.sharing import services as sharing
from apps.studies.models import DeletedStudy, Document, Series, Study
from apps.studies.services import delete_study
from tests.conftest import make_clinic, make_person, signed_in
from tests.deidentification.made import Anonymised, make_anonymised
from tests.ingest.decisions import Decisions, make_decisions
from tests.ingest.files import PIXEL_RUN, part10, zipped
from tests.test_every_url import OURS

MISSING_ID = "AAAAAAAAAAAAAAAAAAAAAA"
MISSING_UID = "2.25.1.2.3"
# Whoever knows one of these may come in: there is nobody to whom they are foreign.
KEYS = {
    "invitation", "password-reset-confirm", "share-landing", "share-landing-slash",
    "request-landing", "request-landing-slash",
}  # fmt: skip
# The numbered studies: 1 and 2 of one patient, 3 of another.
NUMBERS = (1, 2, 3)


def canary(clinic: Clinic, number: int) -> str:
    """A word that stands in every text of this study and nowhere else."""
    return f"CANARY{clinic.slug}{number}".upper()


def uids(number: int) -> dict[str, str]:
    """The UIDs of a study: the same in every clinic."""
    return {
        "study_instance_uid": f"2.25.77.{number}",
        "series_instance_uid": f"2.25.77.{number}.1",
        "sop_instance_uid": f"2.25.77.{number}.1.1",
    }


def pixels(clinic: Clinic, number: int) -> bytes:
    """The pixels of this study, in no other file."""
    return hashlib.shake_256(canary(clinic, number).encode()).digest(len(PIXEL_RUN))


def content(clinic: Clinic, number: int, **changed: Any) -> bytes:
    """The one image of a study."""
    word, named = canary(clinic, number), uids(number)
    values: dict[str, Any] = dict(  # noqa: C408  # keywords, as everywhere
        StudyInstanceUID=named["study_instance_uid"],
        SeriesInstanceUID=named["series_instance_uid"],
        SOPInstanceUID=named["sop_instance_uid"],
        PatientName=f"{word}^Zoe" if number == 3 else f"{canary(clinic, 1)}^Zoe",
        PatientID=f"ID-{canary(clinic, 3 if number == 3 else 1)}",
        StudyDescription=f"{word} study",
        SeriesDescription=f"{word} series",
        AccessionNumber=f"{word}"[:16],
        ReferringPhysicianName=f"{word}^House",
        PixelData=pixels(clinic, number),
    )
    return part10(**values | changed)


@dataclass
class World:
    """A clinic's objects, by number of the study they belong to."""

    clinic: Clinic
    owner: User
    studies: dict[int, Study] = field(default_factory=dict)
    series: dict[int, Series] = field(default_factory=dict)
    documents: dict[int, Document] = field(default_factory=dict)
    batches: dict[int, UploadBatch] = field(default_factory=dict)
    transfers: dict[int, Transfer] = field(default_factory=dict)
    stow: UploadBatch | None = None
    shares: dict[int, sharing.Shared] = field(default_factory=dict)
    children: dict[int, sharing.Shared] = field(default_factory=dict)
    exports: dict[tuple[int, str], Export] = field(default_factory=dict)
    browsers: dict[int, Client] = field(default_factory=dict)
    anonymised: dict[int, Anonymised] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=Decisions)
    member: Membership | None = None
    invitation: Invitation | None = None
    token: ApiToken | None = None
    deleted: dict[int, DeletedStudy] = field(default_factory=dict)
    token_secret: str = ""

    def principal(self, user: User | None = None) -> Principal:
        user = user or self.owner
        context = Context("user", user.public_id, user_id=user.pk, user_email=user.email)
        return Principal("member", self.clinic, capabilities_of(Role.OWNER), context, user)

    def with_fresh_browsers(self) -> World:
        """The same, with the cookies that its browsers had at the beginning."""
        senders = {number: _same_browser(client) for number, client in self.decisions.senders.items()}
        browsers = {number: _same_browser(client) for number, client in self.browsers.items()}
        return replace(self, browsers=browsers, decisions=replace(self.decisions, senders=senders))

    def arguments(self, name: str, number: int) -> dict[str, str]:
        """What stands in this URL for the object that belongs to study `number`; KeyError for an unknown URL."""
        link = self.shares[number].share.link.public_id
        study = self.studies[number]
        member = str(self._member().public_id)
        table: dict[str, dict[str, str]] = {
            **of_all("patient", "patient-download", "patient-prepare", public_id=study.patient.public_id),
            **of_all("study", "study-views", "study-download", "study-prepare", public_id=study.public_id),
            **of_all("share-create", "viewer", public_id=study.public_id),
            **of_all("patient-merge", "patient-split", public_id=study.patient.public_id),
            **of_all("study-move", "study-delete", public_id=study.public_id),
            "study-restore": {"deleted_id": self.deleted[number].public_id},
            "copies": {"public_id": study.public_id},
            "copy-download": {"public_id": self.anonymised[number].copy.public_id},
            **of_all("report", "report-json", "report-verify", public_id=self.anonymised[number].report.public_id),
            **of_all("review", "review-frame", public_id=self.anonymised[number].review.public_id, number="1"),
            "study-uploads": {"study_id": study.public_id},
            **of_all("viewer-reports", "share-viewer-reports", link_id=link, public_id=self.series[number].public_id),
            "viewer-mode": {"public_id": study.public_id, "mode": "viewer"},
            **of_all(
                "series-thumbnail",
                "series-download",
                "series-picture",
                "series-film",
                public_id=self.series[number].public_id,
            ),
            **of_all("document", "document-picture", "document-object", public_id=self.documents[number].public_id),
            "patient-documents": {"public_id": study.patient.public_id},
            "series-papers": {"public_id": self.series[number].public_id},
            "series-paper-file": {
                "public_id": self.series[number].public_id,
                "sop_instance_uid": uids(number)["sop_instance_uid"],
            },
            **of_all("upload-batch", "upload-csv", "upload-close", batch_id=self.batches[number].public_id),
            **of_all("upload-progress", "upload-results", batch_id=self.batches[number].public_id),
            "upload-tus-file": {"transfer_id": self.transfers[number].public_id},
            "dicomweb-store-status": {"batch_id": self.stow.public_id if self.stow else ""},
            **of_all("link-detail", "link-revoke", "link-pause", "link-resume", "link-extend", link_id=link),
            "export-download": {"export_id": self.exports[number, "user"].public_id},
            "share-export": {"link_id": link, "export_id": self.exports[number, "link"].public_id},
            **of_all("share-picture", "share-film", link_id=link, public_id=self.series[number].public_id),
            "share-document": {"link_id": link, "public_id": self.documents[number].public_id},
            "share-exports": {"link_id": link},
            "share-prepare": {"link_id": link},
            "audit-receipt": {"event_id": self._event(number, "link")},
            "share-receipt": {"link_id": link, "event_id": self._event(number, "link")},
            **of_all("share-visits", "share-pass-on", "share-end", "share-download-all", link_id=link),
            **of_all(
                "share-child-revoke",
                "share-child-pause",
                "share-child-resume",
                link_id=link,
                child_id=self.children[number].share.link.public_id,
            ),
            "share-home": {"link_id": link},
            "share-close": {"link_id": link},
            "share-download": {"link_id": link, "public_id": study.public_id},
            "share-viewer": {"link_id": link, "public_id": study.public_id},
            "share-viewer-mode": {"link_id": link, "public_id": study.public_id, "mode": "viewer"},
            **of_all("member", "member-remove", "grant-add", public_id=member),
            "grant-remove": {"public_id": member, "reference": self.studies[1].public_id},
            "invitation-withdraw": {"public_id": self.invitation.public_id if self.invitation else ""},
            "token-revoke": {"public_id": self.token.public_id if self.token else ""},
            "session-end": {"public_id": UserSession.objects.filter(user=self.owner).latest("created_at").public_id},
            "factor-remove": {"public_id": TotpDevice.objects.get(user=self.owner).public_id},
        }
        if name in table:
            return table[name]
        if (decided := self.decisions.arguments(name, number)) is not None:
            return decided
        if not name.startswith("dicomweb-"):
            raise KeyError(name)
        extra = {"frames": "1", "path": "7FE00010"} | ({"link_id": link} if "-link-" in name else {})
        return uids(number) | extra

    def _event(self, number: int, kind: str) -> str:
        reference = self.shares[number].share.link.public_id
        return AuditEvent.objects.filter(actor_kind=kind, actor_reference=reference).earliest("pk").public_id

    def _member(self) -> Membership:
        assert self.member
        return self.member


def _same_browser(client: Client) -> Client:
    browser = Client()
    browser.cookies = copy.deepcopy(client.cookies)
    return browser


def of_all(*names: str, **arguments: str) -> dict[str, dict[str, str]]:
    """The same arguments for several URLs."""
    return dict.fromkeys(names, arguments)


def again(number: int) -> dict[str, str]:
    """UIDs of another study of the same patient, for the recycle bin."""
    return {
        keyword: f"2.25.99.{number}.{part}"
        for part, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), 1)
    }


def make_world(clinic: Clinic, owner: User, password_hash: str) -> World:
    """Three studies with all that belongs to them."""
    world = World(clinic, owner)
    acts = world.principal()
    with clinic_scope(clinic):
        world.stow = open_batch(acts, UploadBatch.Source.STOW)
        for number in NUMBERS:
            [outcome] = store_now(acts, world.stow, [[content(clinic, number)]])
            assert outcome.outcome == "stored", outcome
            study = Study.objects.select_related("patient").get(study_instance_uid=uids(number)["study_instance_uid"])
            world.studies[number] = study
            world.series[number] = Series.objects.get(study=study)
            world.batches[number] = open_batch(acts, UploadBatch.Source.WEB, study=study)
            receive(acts, world.batches[number], f"{canary(clinic, number)}.jpg", [_picture()])
            receive(acts, world.batches[number], f"{canary(clinic, number)}.txt", [b"not an image"])
            archive = zipped({f"{canary(clinic, number)}/member.txt": b"not an image either"})
            receive(acts, world.batches[number], "archive.zip", [archive])
            name = f"{canary(clinic, number)}.zip"
            world.transfers[number] = transfers.begin(acts, world.batches[number], length_bytes=9, name=name)
        process_until_idle()
        for number, study in world.studies.items():
            world.documents[number] = Document.objects.get(study=study)
            world.shares[number] = sharing.share(
                acts, [study], has_pin=False, note="look", may_download=True, may_pass_on=True
            )
            world.children[number] = sharing.pass_on(
                world.shares[number].share, acts, recipient="House", lifetime=timedelta(days=1)
            )
            world.browsers[number] = open_link(world.shares[number])
            reference = world.shares[number].share.link.public_id
            for kind, asking in (("user", acts), ("link", replace(acts, context=Context("link", reference)))):
                world.exports[number, kind] = request_export(asking, [study], Format.ZIP)
                process_until_idle()
            world.anonymised[number] = make_anonymised(acts, study)
            [outcome] = store_now(acts, world.stow, [[content(clinic, number, **again(number))]])
            gone = Study.objects.get(study_instance_uid=outcome.study_instance_uid)
            world.deleted[number] = delete_study(acts, gone)
        world.decisions = make_decisions(
            acts,
            world.studies,
            sent={number: content(clinic, number, StudyInstanceUID=f"2.25.88.{number}") for number in NUMBERS},
            other={number: content(clinic, number, StudyTime="0815") for number in NUMBERS},
        )
    limited = make_person(f"limited@{clinic.slug}.example", "Lina", password_hash)
    world.member = Membership.objects.create(user=limited, clinic=clinic, role=Role.PHYSICIAN, is_limited=True)
    memberships.add_grant(world.member, Grant.Kind.STUDY, world.studies[1].public_id, context=acts.context)
    invitations.invite(clinic, f"new@{clinic.slug}.example", Role.AUDITOR, context=acts.context, invited_by=owner)
    world.invitation = Invitation.objects.get(clinic=clinic)
    world.token, world.token_secret = create_api_token(clinic, list(Scope), context=acts.context, created_by=owner)
    return world


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16), 77).save(file, "JPEG")
    return file.getvalue()


def open_link(shared: sharing.Shared) -> Client:
    """A browser in which this link is open."""
    opened = links.redeem(shared.token, "", sharing.KIND, context=Context(actor_kind="anonymous"))
    browser = Client()
    browser.cookies[sharing.cookie_name(shared.share.link.public_id)] = opened.secret
    return browser


@contextmanager
def rows_of_a_module(blocker: DjangoDbBlocker) -> Iterator[None]:
    """Keep rows for all tests of a module; each test works, and is taken back, inside this transaction."""
    with blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def _alpha_of_module(django_db_setup: None, django_db_blocker: DjangoDbBlocker, password_hash: str) -> Iterator[World]:
    with rows_of_a_module(django_db_blocker):
        yield _populated("alpha", "Alpha Imaging", "alice", password_hash)


@pytest.fixture(scope="module")
def _beta_of_module(_alpha_of_module: World, django_db_blocker: DjangoDbBlocker, password_hash: str) -> Iterator[World]:
    with rows_of_a_module(django_db_blocker):
        yield _populated("beta", "Beta Radiology", "charlie", password_hash)


def _populated(slug: str, name: str, owner: str, password_hash: str) -> World:
    clinic = make_clinic(slug, name)
    person = make_person(f"{owner}@{slug}.example", owner.title(), password_hash, clinic=clinic, role=Role.OWNER)
    signed_in(person)  # somewhere else, too
    return make_world(clinic, person, password_hash)


@pytest.fixture
def alpha(_alpha_of_module: World, db: None) -> World:
    """Clinic A with all that it has; what a test does to it is taken back."""
    return _alpha_of_module.with_fresh_browsers()


@pytest.fixture
def beta(_beta_of_module: World, db: None) -> World:
    """The same for clinic B."""
    return _beta_of_module.with_fresh_browsers()


@pytest.fixture
def as_alice(alpha: World) -> Client:
    """A browser of the owner of clinic A."""
    return signed_in(alpha.owner)


@pytest.fixture
def as_charlie(beta: World) -> Client:
    """A browser of the owner of clinic B."""
    return signed_in(beta.owner)


# --- walking ----------------------------------------------------------------------------------------------------------


def converters(pattern: URLPattern) -> set[str]:
    return set(pattern.pattern.converters) - {"clinic_slug"}


NAMING_OBJECTS = [
    (route, pattern)
    for route, pattern in OURS
    # (`rest` names nothing: it is whatever the DICOMweb URLs before it did not take.)
    if converters(pattern) and pattern.name not in KEYS and "rest" not in converters(pattern)
]
OF_LINKS = [pattern for route, pattern in NAMING_OBJECTS if route.startswith("v/")]
# Of those who were asked for images, and send them.
OF_REQUESTS = [pattern for route, pattern in NAMING_OBJECTS if route.startswith("w/")]
NOT_OF_LINKS = [pattern for route, pattern in NAMING_OBJECTS if not route.startswith(("v/", "w/"))]


def missing(arguments: dict[str, str]) -> dict[str, str]:
    """The same arguments, naming nothing."""
    kept = {"frames", "path", "mode", "side", "number"}
    return {
        name: value if name in kept else MISSING_UID if name.endswith("_uid") else MISSING_ID
        for name, value in arguments.items()
    }


def url_of(pattern: URLPattern, slug: str, arguments: dict[str, str]) -> str:
    """The path of this URL with these arguments, as far as it takes them."""
    taken = {name: value for name, value in arguments.items() if name in pattern.pattern.converters}
    if "clinic_slug" in pattern.pattern.converters:
        taken["clinic_slug"] = slug
    try:
        return reverse(pattern.name, kwargs=taken)
    except NoReverseMatch as error:
        raise AssertionError(f"{pattern.name}: tests/world.py does not fill {pattern.pattern}") from error


def body_of(response: HttpResponse) -> bytes:
    """The whole body, streamed or not, unpacked."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body


@dataclass(frozen=True)
class Answer:
    """What came back, with what the test wants to know of it."""

    method: str
    url: str
    response: HttpResponse
    # The record that the answer names, as it stood when the first byte could go out.
    event: AuditEvent | None
    body: bytes

    @property
    def status(self) -> int:
        return int(self.response.status_code)

    @property
    def neutral(self) -> tuple[int, str, bytes]:
        """Status, type and body without the one thing that differs between two requests."""
        request_id = self.response["X-Request-Id"].encode()
        return self.status, self.response.headers.get("Content-Type", ""), self.body.replace(request_id, b"")

    def __repr__(self) -> str:
        return f"{self.method} {self.url} -> {self.status} {self.body[:60]!r}"


def ask(client: Client, method: str, url: str, **headers: str) -> Answer:
    """Request and take everything back that it did, in the browser too."""
    cookies = copy.copy(client.cookies)
    with transaction.atomic():
        response = client.get(url, headers=headers) if method == "GET" else client.post(url, headers=headers)
        event = AuditEvent.objects.filter(public_id=response.headers.get("X-Audit-Id", "")).first()
        answer = Answer(method, url, response, event, body_of(response))
        transaction.set_rollback(True)
    client.cookies = cookies
    return answer


def ask_both(client: Client, url: str, **headers: str) -> Iterator[Answer]:
    """GET and POST."""
    for method in ("GET", "POST"):
        yield ask(client, method, url, **headers)


def texts(clinic: Clinic, *numbers: int) -> list[bytes]:
    """What must not come back to somebody who may not see these studies of this clinic (compared in upper case)."""
    return [canary(clinic, number).encode() for number in numbers]


def holds(answer: Answer, clinic: Clinic, *numbers: int) -> list[Any]:
    """Which canaries of these studies an answer holds: texts in any case, and pixels."""
    upper = answer.body.upper()
    found: list[Any] = [text for text in texts(clinic, *numbers) if text in upper]
    return found + [n for n in numbers if pixels(clinic, n)[:40] in answer.body]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
