"""The ways in for a browser: one page and one set of URLs, whoever stands behind the request.

A member's upload page and the page of an upload-request link differ in where their URLs stand and in who acts there.
Both are told in one place, a `Door`; everything behind it is a function of the `Principal` (apps.ingest.sending,
apps.ingest.tus), and the page's script knows no address but those of its configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse

from apps.access.services import Principal, principal_of
from apps.accounts.roles import Capability, Rule
from apps.ingest.models import UploadBatch
from apps.ingest.words import page_words
from apps.patients.models import Patient
from apps.studies.models import Study

View = Callable[..., HttpResponseBase]

# What a link's own pages stand under is kept apart from what they name.
OWN_ARGUMENTS: Final = frozenset({"batch_id", "transfer_id"})


def _as_it_is(view: View) -> View:
    return view


@dataclass(frozen=True)
class Door:
    """Where a page of ours sends files.

    `prefix` is the route before all its URLs, `name` what their names begin with, `store_name` the URL that takes
    instances by STOW-RS for whoever acts here. `guard` decorates each view and leaves `request.principal` (or what
    `principal_of` makes one of) and the clinic's scope open; it is called with the arguments of the prefix.
    """

    name: str
    prefix: str
    rule: Rule
    store_name: str
    guard: Callable[[View], View] = field(default=_as_it_is)

    def entrance(self, request: HttpRequest, where: Mapping[str, str]) -> Entrance:
        """Return this door as one request came through it; `where`: the arguments of the prefix."""
        return Entrance(self, request, dict(where))


@dataclass(frozen=True)
class Entrance:
    """A door as one request came through it: who acts, and the addresses that hold for them."""

    door: Door
    request: HttpRequest
    where: Mapping[str, str]

    @property
    def principal(self) -> Principal:
        """Who acts."""
        return principal_of(self.request)

    def url(self, name: str, **ids: str) -> str:
        """Return the path of one of the door's URLs: begin, have, close, results, tus, tus-file."""
        return reverse(f"{self.door.name}-{name}", kwargs={**self.where, **ids})

    def store_url(self) -> str:
        """Return the path of STOW-RS."""
        return reverse(self.door.store_name, kwargs=dict(self.where))

    def batch_url(self, batch: UploadBatch) -> str:
        """Return the path of the page of an upload, empty for whoever has no such page."""
        principal = self.principal
        if principal.kind != "member" or Capability.UPLOAD_VIEW not in principal.capabilities:
            return ""
        return reverse("upload-batch", args=[principal.clinic.slug, batch.public_id])

    def study_url(self, study: Study | None) -> str:
        """Return the path of a study's page, empty for whoever may not see it."""
        principal = self.principal
        if study is None or Capability.STUDY_VIEW not in principal.capabilities or not principal.may_see(study):
            return ""
        try:
            return reverse("study", args=[principal.clinic.slug, study.public_id])
        except NoReverseMatch:
            return ""

    def page_config(
        self,
        *,
        study: Study | None = None,
        patient: Patient | None = None,
        sign_in_url: str = "",
        activity_url: str = "",
    ) -> dict[str, Any]:
        """Return what the page's script has to know (templates/ingest/_uploader.html takes it as `upload_config`).

        `study` or `patient`: where documents among the files go. `sign_in_url`: where a person signs in again in
        another tab.
        `activity_url`: what keeps their session while files are being sent; both empty without an account.
        """
        return {
            "urls": {
                "begin": self.url("begin"),
                "have": self.url("have"),
                "store": self.store_url(),
                "tus": self.url("tus"),
                "signIn": sign_in_url,
                "activity": activity_url,
            },
            "assets": {
                name: static(path)
                for name, path in {
                    "line": "js/upload-line.js",
                    "list": "js/upload-list.js",
                    "scan": "js/upload-scan.js",
                    "parser": "vendor/dicom-parser/dicomParser.min.js",
                }.items()
            },
            "csrf": get_token(self.request),
            "person": self.principal.context.actor_reference,
            "study": study.public_id if study else "",
            "patient": patient.public_id if patient else "",
            "maxFileBytes": settings.MAX_FILE_BYTES,
            "maxArchiveBytes": settings.MAX_ARCHIVE_BYTES,
            "words": page_words(),
        }
