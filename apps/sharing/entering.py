"""What a link opens, and for whom: asked anew on every request under its address."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from django.conf import settings
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope
from apps.deidentification import services as deidentification
from apps.deidentification.errors import CopyNotReadyError
from apps.links import services as links
from apps.links.errors import LinkRefusedError, LinkUnavailableError
from apps.links.models import Link
from apps.links.visitors import keep_private, visitor_context
from apps.patients.models import Patient
from apps.sharing.making import KIND
from apps.sharing.models import ShareLink, Visit
from apps.studies.corrections import as_shared, own_studies
from apps.studies.models import Study

# What a recipient may do, besides downloading where the link says so. Searching finds the link's own studies only.
RECIPIENT_CAPABILITIES: Final = frozenset({Capability.STUDY_SEARCH, Capability.STUDY_VIEW})
RECHECK_BYTES: Final = 1 << 20
_NO_NAME: Final = gettext_lazy("Please say who you are; the clinic asks for it.")


def open_share(
    token: str, answer: str, *, recipient: str = "", purpose: str = "", context: Context
) -> links.OpenedLink:
    """Open a link for one browser, keep what its holder said of themselves, and tell its maker if that was wished.

    Raises the errors of `links.services.redeem`, and LinkRefusedError when a name is asked for and none was given:
    then nothing was opened.
    """
    link = links.find(token, KIND, context=context)
    with clinic_scope(link.clinic):
        row = ShareLink.objects.get(link=link)
    if row.asks_recipient and not recipient.strip():
        raise LinkRefusedError(str(_NO_NAME))
    opened = links.redeem(token, answer, KIND, context=context)
    with clinic_scope(link.clinic):
        if row.asks_recipient:
            Visit.objects.create(
                clinic=link.clinic,
                share=row,
                session_hash=links.session_hash(opened.session),
                recipient=recipient.strip()[:120],
                purpose=purpose.strip()[:200],
            )
        if row.notifies_opening:
            links.tell_opened(opened.link)
    return opened


def only_study_of(link: Link) -> Study | None:
    """Return the study that a link opens at once: its only one, with nothing to say and nothing to take along."""
    with clinic_scope(link.clinic):
        row = ShareLink.objects.select_related("link").get(link=link)
        if row.note or row.may_download or row.may_pass_on or row.is_anonymised:
            return None
        studies = list(visible_studies(row)[:2])
        return studies[0] if len(studies) == 1 else None


def asks_of(link: Link) -> bool:
    """Return whether a link asks for name and purpose before it opens."""
    with clinic_scope(link.clinic):
        return ShareLink.objects.filter(link=link, asks_recipient=True).exists()


def cookie_name(link_reference: str) -> str:
    """Return the name of the cookie of one link; with HTTPS the prefix binds it to this host and to `/`."""
    return f"{settings.COOKIE_PREFIX}share-{link_reference}"


def link_principal(request: HttpRequest, link_id: str) -> Principal:
    """Return who acts under `/v/<link_id>/`: the link itself, limited to its studies; member sessions are ignored.

    Reads link, session and studies from the database on each call, so that taking a link back works on the next
    request, frames included (SHARE-02, SHARE-03). Raises Http404 when the link's cookie is missing or holds no more.
    """
    return _recipient(request, link_id)[0]


def recipient_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view under `/v/<link_id>/`: it gets `request.principal`, `request.clinic` and `request.share`.

    The clinic's scope is open while the view runs. Every answer, refusals too, is kept out of caches, search engines
    and Referer headers.
    """

    @functools.wraps(view)
    def guarded(request: HttpRequest, link_id: str, *args: object, **kwargs: object) -> HttpResponseBase:
        try:
            principal, row = _recipient(request, link_id)
            request.principal = principal  # type: ignore[attr-defined]
            request.clinic = principal.clinic  # type: ignore[attr-defined]
            request.share = row  # type: ignore[attr-defined]
            with clinic_scope(principal.clinic, edition=principal.edition):
                return keep_private(view(request, link_id, *args, **kwargs))
        except CopyNotReadyError:
            return keep_private(render(request, "sharing/preparing.html", status=409))
        except Http404:
            return not_available(request)

    return guarded


def while_shared(request: HttpRequest, link_id: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks, asking again before each further MiB whether the link still holds (SHARE-03).

    A link taken back ends the connection in the middle of the body (Http404 while streaming).
    """
    sent_bytes = 0
    for chunk in chunks:
        if sent_bytes >= RECHECK_BYTES:
            link_principal(request, link_id)
            sent_bytes = 0
        yield chunk
        sent_bytes += len(chunk)


def not_available(request: HttpRequest) -> HttpResponseBase:
    """Return the one page for a link that opens nothing, whatever the reason (SHARE-14)."""
    return keep_private(render(request, "sharing/not_available.html", status=404))


def visible_studies(share: ShareLink) -> QuerySet[Study]:
    """Return the studies that a link shows as its own; one that was passed on shows no more than where it came from."""
    if share.is_anonymised:
        # In the copy's own scope these are all there are; in any other there are none.
        return Study.objects.filter(edition=share.edition)
    # What turned out to be somebody else's since is shown no more.
    studies = share.studies.filter(as_shared(share.link.created_at))
    if share.link.parent_id is not None:
        allowed = ShareLink.studies.through.objects.filter(sharelink__link_id=share.link.parent_id)
        studies = studies.filter(pk__in=allowed.values("study_id"))
    return studies


def watermark_of(share: ShareLink, session_hash: str) -> str:
    """Return what is written over the images of this visit: for whom they are, and when they were opened; else ""."""
    if not share.is_watermarked:
        return ""
    visit = Visit.objects.filter(share=share, session_hash=session_hash).first()
    name = (visit.recipient if visit else "") or share.recipient or share.link.recipient_email
    opened = date_format(timezone.localtime(), "SHORT_DATETIME_FORMAT")
    return " · ".join(part for part in (name, opened, share.link.public_id[:8]) if part)


def _recipient(request: HttpRequest, link_id: str) -> tuple[Principal, ShareLink]:
    try:
        session = links.resolve(link_id, request.COOKIES.get(cookie_name(link_id), ""), KIND)
    except LinkUnavailableError as error:
        raise Http404 from error
    link: Link = session.link
    with clinic_scope(link.clinic):
        row = ShareLink.objects.get(link=link)
        row.link = link
        if row.is_anonymised:
            # The studies it was made from too, by whom the trail goes on counting: in its scope there is none of them.
            references = frozenset(row.studies.values_list("public_id", flat=True)) | _copied(row)
        else:
            references = frozenset(visible_studies(row).values_list("public_id", flat=True))
        if row.may_see_priors:
            references |= _priors(row)
        may_download = row.may_download and _parent_may_download(row)
        hashed = links.session_hash(session)
        watermark = watermark_of(row, hashed)
    context = replace(links.replace_actor(visitor_context(request), link), session_hash=hashed)
    principal = Principal(
        kind="link",
        clinic=link.clinic,
        capabilities=RECIPIENT_CAPABILITIES | ({Capability.STUDY_DOWNLOAD} if may_download else frozenset()),
        context=context,
        user=None,
        patient_references=frozenset(),
        study_references=references,
        watermark=watermark,
        edition=row.edition,
    )
    return principal, row


def _copied(row: ShareLink) -> frozenset[str]:
    """Return the studies of an anonymised link's copy; raises CopyNotReadyError while it is not complete."""
    with clinic_scope(row.clinic, edition=deidentification.ready_edition(row.link)):
        return frozenset(visible_studies(row).values_list("public_id", flat=True))


def _priors(row: ShareLink) -> frozenset[str]:
    """Return the earlier studies of the patient for whom the link was made.

    By the patient's public id as it was then: a study that was moved to somebody else since brings nobody's priors, and
    of two that were merged each brings her own, not the other's.
    """
    newest = visible_studies(row).aggregate(day=Max("study_date"))["day"]
    if newest is None or not row.patient_reference:
        return frozenset()
    patient = Patient.objects.select_related("merged_into").filter(public_id=row.patient_reference).first()
    if patient is None:
        return frozenset()
    earlier = own_studies(patient, row.link.created_at).filter(study_date__lte=newest)
    return frozenset(earlier.values_list("public_id", flat=True))


def _parent_may_download(row: ShareLink) -> bool:
    if row.link.parent_id is None:
        return True
    return ShareLink.objects.filter(link_id=row.link.parent_id, may_download=True).exists()
