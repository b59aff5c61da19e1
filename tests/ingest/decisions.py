"""One of everything that waits for a person's decision, for the tests that walk over every URL."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.test import Client

from apps.access.services import Principal
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope
from apps.ingest import requests, transfers
from apps.ingest.models import Transfer, Upload, UploadBatch, WaitingStudy
from apps.ingest.services import open_batch, store_now
from apps.links import services as links
from apps.patients.models import IdentityFlag
from apps.patients.services import flag_identity, refresh_doubts
from apps.studies import corrections
from apps.studies.models import Correction, Study


@dataclass
class Decisions:
    """By number of the study that each is about; the flag is about all of them."""

    asked: dict[int, requests.MadeRequest] = field(default_factory=dict)
    batches: dict[int, UploadBatch] = field(default_factory=dict)
    transfers: dict[int, Transfer] = field(default_factory=dict)
    arrivals: dict[int, WaitingStudy] = field(default_factory=dict)
    conflicts: dict[int, Upload] = field(default_factory=dict)
    corrections: dict[int, Correction] = field(default_factory=dict)
    senders: dict[int, Client] = field(default_factory=dict)
    flag: IdentityFlag | None = None

    def arguments(self, name: str, number: int) -> dict[str, str] | None:
        """What stands in this URL; None for a URL of another room."""
        link = self.asked[number].request.link.public_id
        if name.startswith("request-"):
            ids = {"batch_id": self.batches[number].public_id, "transfer_id": self.transfers[number].public_id}
            return {"link_id": link} | ids
        if name.startswith("upload-request"):
            return {"link_id": link}
        if name.startswith("inbox-"):
            arrival = self.arrivals[number]
            with clinic_scope(arrival.clinic):
                return {"arrival_id": arrival.public_id, "upload_id": Upload.objects.get(arrival=arrival).public_id}
        if name.startswith("conflict"):
            return {"conflict_id": self.conflicts[number].public_id, "side": "other"}
        if name == "identity-different" and self.flag is not None:
            return {"flag_id": self.flag.public_id}
        if name == "correction-undo":
            return {"correction_id": self.corrections[number].public_id}
        return None


def make_decisions(
    acts: Principal, studies: dict[int, Study], sent: dict[int, bytes], other: dict[int, bytes]
) -> Decisions:
    """`sent`: what somebody outside sends; `other`: a second version of each study's image. The scope is open."""
    made = Decisions()
    stow = open_batch(acts, UploadBatch.Source.STOW)
    for number, study in studies.items():
        asked = made.asked[number] = requests.create_request(acts, title="House", has_pin=False)
        reference = asked.request.link.public_id
        sender = Principal("link", acts.clinic, requests.SENDER_CAPABILITIES, Context("link", reference))
        batch = made.batches[number] = open_batch(sender, UploadBatch.Source.WEB)
        made.transfers[number] = transfers.begin(sender, batch, length_bytes=9, name="a.zip")
        store_now(sender, batch, [[sent[number]]])
        made.arrivals[number] = WaitingStudy.objects.get(request=asked.request)
        [outcome] = store_now(acts, stow, [[other[number]]])
        assert outcome.outcome == "conflict", outcome
        made.conflicts[number] = Upload.objects.get(batch=stow, sop_instance_uid=outcome.sop_instance_uid)
        made.senders[number] = open_request(asked)
        elsewhere = next(row.patient for row in studies.values() if row.patient_id != study.patient_id)
        moved = corrections.move_study(acts, study, elsewhere)
        assert moved
        made.corrections[number] = corrections.undo(acts, moved)
    people = [studies[1].patient, studies[3].patient]
    flag_identity(people[0], people[1], IdentityFlag.Reason.PATIENT_ID)
    refresh_doubts([patient.pk for patient in people])
    made.flag = IdentityFlag.objects.get()
    return made


def open_request(asked: requests.MadeRequest) -> Client:
    """A browser in which this request is open."""
    opened = links.redeem(asked.token, "", requests.KIND, context=Context(actor_kind="anonymous"))
    browser = Client()
    browser.cookies[requests.cookie_name(asked.request.link.public_id)] = opened.secret
    return browser
