"""A client that keeps a ledger: what it sent, and what the installation acknowledged."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from apps.dicom.uid import make_uid
from tests.flows.installation import Installation
from tests.ingest.files import part10, zipped

SLUG = "faults"
GIVE_UP_SECONDS = 90
# A signed-in member, as after both factors: prints the cookie's name and value.
MAKE_SESSION = """
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY
from apps.accounts.models import Membership, TotpDevice, UserSession
from apps.accounts.roles import Role
from apps.accounts.sessions import SessionStore
from apps.clinics.models import Clinic
User = get_user_model()
now = timezone.now()
user = User.objects.create(email="client@faults.example", name="Client", password="!", password_changed_at=now)
device = TotpDevice(user=user, name="phone", confirmed=True)
device.sealed_seed = TotpDevice.seal_seed(user, bytes(20))
device.save()
Membership.objects.create(user=user, clinic=Clinic.objects.get(slug="faults"), role=Role.OWNER)
request = HttpRequest()
request.session = SessionStore()
login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
request.session[DEVICE_ID_SESSION_KEY] = device.persistent_id
request.session.save()
UserSession.objects.filter(user=user).update(verified_at=now)
print(settings.SESSION_COOKIE_NAME, request.session.session_key)
"""


class Access:
    """How the client comes in: a bearer token, and a session for the upload page."""

    def __init__(self, installation: Installation) -> None:
        installation.manage("create_clinic", SLUG, "--name", "Faults", "--owner", "owner@faults.example")
        command = ("create_api_token", "--clinic", SLUG, "--scopes", "read,write")
        self.token = installation.manage(*command).strip()
        self.cookie, self.session_key = installation.manage("shell", "-v", "0", "-c", MAKE_SESSION).split()
        self.base_url = installation.base_url
        self.root = f"{installation.base_url}/c/{SLUG}"
        self.certificate = str(installation.data_dir / "keys" / "tls.crt")

    def api(self) -> requests.Session:
        """Speaks DICOMweb."""
        session = requests.Session()
        session.verify, session.trust_env = self.certificate, False
        session.headers["Authorization"] = f"Bearer {self.token}"
        return session

    def browser(self) -> requests.Session:
        """Speaks as the upload page's script does."""
        session = requests.Session()
        session.verify, session.trust_env = self.certificate, False
        prefix = self.cookie.removesuffix("session")
        secret = "a" * 32
        session.headers.update(
            {
                "Cookie": f"{self.cookie}={self.session_key}; {prefix}csrf={secret}",
                "X-CSRFToken": secret,
                "Origin": self.base_url,
                "Referer": self.base_url + "/",
            }
        )
        return session


class Ledger:
    """SHA-256 by SOP Instance UID: of everything that was sent, and of what was acknowledged."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.acknowledged: dict[str, str] = {}
        self.studies: dict[str, str] = {}
        self.refusals: list[str] = []
        self.lock = threading.Lock()

    def send(self, study_uid: str, files: dict[str, bytes]) -> None:
        """Note what is about to be sent."""
        with self.lock:
            for uid, content in files.items():
                self.sent[uid] = hashlib.sha256(content).hexdigest()
                self.studies[uid] = study_uid

    def acknowledge(self, uids: list[str]) -> None:
        """Note what the installation answered for."""
        with self.lock:
            for uid in uids:
                self.acknowledged[uid] = self.sent[uid]


class Sender(threading.Thread):
    """Sends one small study after the other, each until it is acknowledged, until told to stop."""

    def __init__(self, access: Access, ledger: Ledger, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.access, self.ledger, self.stopped = access, ledger, stop
        self.choice = random.Random(seed)
        self.api, self.browser = access.api(), access.browser()
        self.tries = 0

    def run(self) -> None:
        """Send until stopped; what goes wrong for good is noted in the ledger."""
        while not self.stopped.is_set():
            study_uid, files = self.study()
            self.ledger.send(study_uid, files)
            way = self.choice.choice([self.by_stow, self.by_stow, self.by_page, self.by_page, self.by_archive])
            try:
                way(files)
            except Exception as error:
                self.ledger.refusals.append(f"{way.__name__}: {type(error).__name__}: {error}"[:500])
                return

    def study(self) -> tuple[str, dict[str, bytes]]:
        """A study of two series of three instances."""
        study_uid = make_uid()
        files = {}
        patient = {"PatientID": f"ID-{self.choice.randrange(40)}", "StudyInstanceUID": study_uid}
        for _series in range(2):
            series_uid = make_uid()
            for number in range(1, 4):
                uid = make_uid()
                files[uid] = part10(
                    SeriesInstanceUID=series_uid, SOPInstanceUID=uid, InstanceNumber=number, **patient,
                    PixelData=self.choice.randbytes(512),
                )  # fmt: skip
        return study_uid, files

    def until_answered(self, call: Callable[[], requests.Response]) -> requests.Response:
        """Repeat a request, as a client does, while nobody answers or the server is in trouble."""
        end = time.monotonic() + GIVE_UP_SECONDS
        while True:
            self.tries += 1
            try:
                response = call()
                if response.status_code < 500:
                    return response
                trouble = f"{response.status_code} {response.text[:200]}"
            except requests.RequestException as error:
                trouble = type(error).__name__
            if time.monotonic() > end:
                raise TimeoutError(trouble)
            time.sleep(0.2)

    def by_stow(self, files: dict[str, bytes]) -> None:
        """STOW-RS; two requests at once for one study, so that two processes meet at its rows."""
        uids = list(files)
        halves = [uids[0::2], uids[1::2]]
        other = threading.Thread(target=self._stow_noting, args=(files, halves[1]), daemon=True)
        other.start()
        self._stow(self.api, files, halves[0])
        other.join()

    def _stow_noting(self, files: dict[str, bytes], uids: list[str]) -> None:
        try:
            self._stow(self.access.api(), files, uids)
        except Exception as error:
            self.ledger.refusals.append(f"by_stow: {type(error).__name__}: {error}"[:500])

    def _stow(self, api: requests.Session, files: dict[str, bytes], uids: list[str], url: str = "") -> None:
        boundary = "part-of-a-study"
        parts = [
            f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-ID: <{uid[-30:]}>\r\n\r\n".encode()
            + files[uid]
            + b"\r\n"
            for uid in uids
        ]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
        url = url or f"{self.access.root}/dicomweb/studies"
        response = self.until_answered(lambda: api.post(url, data=body, headers=headers, timeout=30))
        expect(response, 200)
        stored = [item["00081155"]["Value"][0] for item in response.json()["00081199"]["Value"]]
        assert sorted(stored) == sorted(uids), response.text
        self.ledger.acknowledge(stored)

    def by_page(self, files: dict[str, bytes]) -> None:
        """The upload page: the files of a study in two requests, each with a key of its own for each file."""
        batch = self._begin()
        uids = list(files)
        for half in (uids[:3], uids[3:]):
            self._stow(self.browser, files, half, url=self.access.base_url + batch["urls"]["store"])
        self._close(batch)

    def by_archive(self, files: dict[str, bytes]) -> None:
        """The upload page: the study as a ZIP, in pieces, each going on where the last acknowledged one ended."""
        batch = self._begin()
        data = zipped({f"{number}.dcm": data for number, data in enumerate(files.values())})
        about = {"filename": "study.zip", "key": "zip", "batch": batch["batch"]}
        pairs = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in about.items())
        headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), "Upload-Metadata": pairs}
        url = f"{self.access.root}/upload/tus/"
        begun = self.until_answered(lambda: self.browser.post(url, headers=headers, timeout=30))
        expect(begun, 201)
        place = self.access.base_url + begun.headers["Location"]
        offset = 0
        while offset < len(data):
            offset = self._piece(place, data, offset)
        self.ledger.acknowledge(list(files))
        self._close(batch)

    def _piece(self, place: str, data: bytes, offset: int) -> int:
        """Send the next piece and return how much is there; whatever goes wrong, the server is asked for that."""
        piece = data[offset : offset + self.choice.randrange(1, len(data))]
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        try:
            answer = self.browser.patch(place, data=piece, headers=headers, timeout=30)
            if answer.status_code == 204:
                assert int(answer.headers["Upload-Offset"]) == offset + len(piece)
                return offset + len(piece)
            assert answer.status_code in (400, 409, 423) or answer.status_code >= 500, answer.text
        except requests.RequestException:
            pass
        time.sleep(0.2)
        asked = self.until_answered(lambda: self.browser.head(place, headers={"Tus-Resumable": "1.0.0"}, timeout=30))
        expect(asked, 200)
        there = int(asked.headers["Upload-Offset"])
        assert there >= offset, "what was acknowledged is gone"
        return there

    def _begin(self) -> dict[str, Any]:
        url = f"{self.access.root}/upload/begin/"
        response = self.until_answered(lambda: self.browser.post(url, timeout=30))
        expect(response, 201)
        batch: dict[str, Any] = response.json()
        return batch

    def _close(self, batch: dict[str, Any]) -> None:
        url = self.access.base_url + batch["urls"]["close"]
        expect(self.until_answered(lambda: self.browser.post(url, timeout=30)), 200)


def expect(response: requests.Response, status: int) -> None:
    """Raise AssertionError with what the server said instead."""
    assert response.status_code == status, f"{response.status_code} {response.text[:300]}"


def compare(access: Access, ledger: Ledger) -> list[str]:
    """Look at everything from outside: what QIDO-RS finds and WADO-RS returns, against the ledger."""
    wrong = [f"client: {refusal}" for refusal in ledger.refusals]
    api = access.api()
    found: dict[str, int] = {}
    returned: dict[str, str] = {}
    for study_uid in sorted(set(ledger.studies.values())):
        base = f"{access.root}/dicomweb/studies/{study_uid}"
        response = api.get(f"{base}/instances", headers={"Accept": "application/dicom+json"}, timeout=30)
        rows = response.json() if response.status_code == 200 else []
        for row in rows:
            uid = row["00080018"]["Value"][0]
            found[uid] = found.get(uid, 0) + 1
        if rows:
            accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            response = api.get(base, headers={"Accept": accept}, timeout=30)
            for content in parts_of(response):
                digest = hashlib.sha256(content).hexdigest()
                uid = next((uid for uid, sent in ledger.sent.items() if sent == digest), "")
                if uid in returned or not uid:
                    wrong.append(f"study {study_uid} returns {'twice' if uid else 'foreign bytes'} {uid}")
                returned[uid] = digest
    wrong += [f"{uid} is found {count} times" for uid, count in found.items() if count > 1]
    wrong += [f"{uid} was acknowledged and is not found" for uid in ledger.acknowledged if uid not in found]
    wrong += [f"{uid} is found without its bytes" for uid in found if returned.get(uid) != ledger.sent.get(uid)]
    return wrong


def parts_of(response: requests.Response) -> Iterator[bytes]:
    """The parts of a multipart/related response."""
    if response.status_code != 200:
        return
    boundary = response.headers["Content-Type"].partition("boundary=")[2].partition(";")[0].strip('"')
    for part in response.content.split(f"--{boundary}".encode())[1:-1]:
        yield part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
