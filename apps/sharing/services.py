"""The door of the sharing room: hand studies to somebody outside, see who looked, take them back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy

from apps.access.services import ObjectReference, Principal
from apps.accounts.roles import Capability
from apps.audit.services import Context, record
from apps.clinics.scoping import clinic_scope
from apps.deidentification import services as deidentification
from apps.deidentification.errors import CopyNotReadyError, UnreviewedError
from apps.links import services as links
from apps.links.errors import LinkRefusedError, LinkUnavailableError
from apps.links.models import Link
from apps.links.services import Factor
from apps.links.visitors import keep_private, visitor_context
from apps.notices.services import send_mail
from apps.patients.models import Patient
from apps.sharing.errors import NoBirthDateError, NotOnePatientError, NotReviewedError
from apps.sharing.models import ShareLink, Visit
from apps.sharing.visits import VisitSummary, refusals_of, visits_of
from apps.studies.corrections import as_shared, own_studies
from apps.studies.models import Study

__all__ = [
    "KIND",
    "Shared",
    "VisitSummary",
    "address_of",
    "asks_of",
    "children_of",
    "cookie_name",
    "extend",
    "keep_private",
    "link_principal",
    "not_available",
    "open_share",
    "pass_on",
    "pause",
    "recipient_page",
    "refusals_of",
    "resume",
    "revoke",
    "revoke_all",
    "share",
    "shares_seen_by",
    "visible_studies",
    "visitor_context",
    "visits_of",
    "watermark_of",
    "while_shared",
]

KIND: Final = "share"
# What a recipient may do, besides downloading where the link says so. Searching finds the link's own studies only.
RECIPIENT_CAPABILITIES: Final = frozenset({Capability.STUDY_SEARCH, Capability.STUDY_VIEW})
RECHECK_BYTES: Final = 1 << 20
_NO_ADDRESS: Final = gettext_lazy("To send the link by mail, write down the address it goes to.")
_NO_NAME: Final = gettext_lazy("Please say who you are; the clinic asks for it.")


@dataclass(frozen=True)
class Shared:
    """A link just made, with the secrets that are shown this once."""

    share: ShareLink
    token: str
    pin: str


def share(
    principal: Principal,
    studies: Iterable[Study],
    *,
    note: str = "",
    recipient: str = "",
    recipient_email: str = "",
    is_mailed: bool = False,
    may_download: bool = False,
    may_see_priors: bool = False,
    may_pass_on: bool = False,
    asks_recipient: bool = False,
    is_watermarked: bool = False,
    is_anonymised: bool = False,
    notifies_opening: bool = False,
    lifetime: timedelta = links.DEFAULT_LIFETIME,
    starts_at: datetime | None = None,
    has_pin: bool = True,
    factor: Factor | None = None,
    max_attempts: int = links.MAX_ATTEMPTS,
    max_views: int | None = None,
) -> Shared:
    """Make a link to these studies of one patient, tell the clinic's owners, and return it with its secrets.

    `factor` goes before `has_pin`. `is_mailed`: the link, never its PIN, goes to `recipient_email` from us.

    `is_anonymised`: it shows an anonymised copy and nothing else, no earlier studies either, as soon as that is made.

    All or nothing. Raises NotOnePatientError, NoBirthDateError, NotReviewedError, the errors of
    `links.services.create`, and Http404 for a study that the sharer may not see.
    """
    chosen = list(studies)
    if len({study.patient_id for study in chosen}) != 1:
        raise NotOnePatientError
    if not all(principal.may_see(study) for study in chosen):
        raise Http404
    if is_mailed and not recipient_email:
        raise LinkRefusedError(str(_NO_ADDRESS))
    wanted = factor or (Factor.PIN if has_pin else Factor.NONE)
    patient = chosen[0].patient
    if wanted == Factor.BIRTH_DATE and patient.patient_birth_date is None:
        raise NoBirthDateError
    with transaction.atomic():
        made = links.create(
            principal.clinic,
            KIND,
            created_by=principal.user,
            context=principal.context,
            covers=[study.audit_reference() for study in chosen],
            lifetime=lifetime,
            starts_at=starts_at,
            has_pin=wanted == Factor.PIN,
            birth_date=patient.patient_birth_date if wanted == Factor.BIRTH_DATE else None,
            has_mail_code=wanted == Factor.MAIL_CODE,
            recipient_email=recipient_email,
            max_attempts=max_attempts,
            max_views=max_views,
        )
        row = ShareLink.objects.create(
            clinic=principal.clinic,
            link=made.link,
            patient_reference=patient.public_id,
            recipient=recipient.strip(),
            note=note.strip(),
            may_download=may_download,
            may_see_priors=may_see_priors and not is_anonymised,
            may_pass_on=may_pass_on and not is_anonymised,
            asks_recipient=asks_recipient,
            is_watermarked=is_watermarked,
            notifies_opening=notifies_opening,
            edition=_edition_for(principal, chosen, made.link) if is_anonymised else "",
        )
        row.studies.set(chosen)
        if is_mailed:
            _mail(made, principal.context)
        _tell_owners(made.link, principal)
    return Shared(row, made.token, made.pin)


def _edition_for(principal: Principal, studies: list[Study], link: Link) -> str:
    try:
        return deidentification.copy_for_link(principal, studies, link)
    except UnreviewedError as error:
        raise NotReviewedError from error


def pass_on(
    parent: ShareLink,
    principal: Principal,
    *,
    recipient: str,
    lifetime: timedelta,
    has_pin: bool = True,
    may_download: bool = False,
    note: str = "",
) -> Shared:
    """Make a link of the patient's own from the one she holds: its studies, its end at the latest, no right more.

    Raises Http404 when the link may not be passed on, and the errors of `links.services.create`.
    """
    if not parent.may_pass_on or parent.link.parent_id is not None:
        raise Http404
    studies = list(parent.studies.select_related("patient"))
    with transaction.atomic():
        made = links.create(
            parent.clinic,
            KIND,
            created_by=None,
            context=principal.context,
            covers=[study.audit_reference() for study in studies],
            # A moment less: the parent's end is the bound, and time has passed since the form was shown.
            lifetime=min(lifetime, parent.link.expires_at - timezone.now() - timedelta(seconds=1)),
            has_pin=has_pin,
            parent=parent.link,
        )
        row = ShareLink.objects.create(
            clinic=parent.clinic,
            link=made.link,
            patient_reference=parent.patient_reference,
            recipient=recipient.strip(),
            note=note.strip(),
            may_download=may_download and parent.may_download,
            may_see_priors=parent.may_see_priors,
            asks_recipient=parent.asks_recipient,
            is_watermarked=parent.is_watermarked,
        )
        row.studies.set(studies)
        _tell_owners(made.link, principal)
    return Shared(row, made.token, made.pin)


def _mail(made: links.NewLink, context: Context) -> None:
    link = made.link
    asked = {
        "needs_pin": link.factor == Factor.PIN,
        "needs_birth_date": link.factor == Factor.BIRTH_DATE,
        "needs_code": link.factor == Factor.MAIL_CODE,
    }
    send_mail(link.recipient_email, "link_sent", {"url": address_of(made.token), "expires_at": link.expires_at} | asked)
    record("link.sent", context=context, clinic_id=link.clinic_id, object_kind="link", object_reference=link.public_id)


def _tell_owners(link: Link, principal: Principal) -> None:
    for address in links.people_to_tell(link):
        if principal.user is None or address != principal.user.email:
            send_mail(address, "link_created", {"url": links.page_url(link)})


def address_of(token: str) -> str:
    """Return the address to hand out, on the installation's public name."""
    return str(settings.BASE_URL) + reverse("share-landing", args=[token])


def shares_seen_by(principal: Principal, *, study: str = "", patient: str = "", maker: str = "") -> QuerySet[ShareLink]:
    """Return the links of the clinic, newest first: all for who may manage links, else the person's own.

    Narrowed to those that show a study or a patient, or were made by a person, each named by public id.
    """
    rows = ShareLink.objects.select_related("link__clinic", "link__created_by", "link__parent")
    if Capability.LINK_MANAGE not in principal.capabilities:
        if principal.user is None:
            return rows.none()
        rows = rows.filter(link__created_by=principal.user)
    if study:
        rows = rows.filter(studies__public_id=study)
    if patient:
        rows = rows.filter(studies__patient__public_id=patient)
    if maker:
        rows = rows.filter(link__created_by__public_id=maker)
    if study or patient:
        rows = rows.distinct()
    return rows.prefetch_related("studies__patient").order_by("-link__created_at", "-pk")


def children_of(share: ShareLink) -> QuerySet[ShareLink]:
    """Return the links that were passed on from this one, newest first."""
    rows = ShareLink.objects.filter(link__parent_id=share.link_id).select_related("link__clinic", "link__parent")
    return rows.order_by("-link__created_at", "-pk")


def revoke(principal: Principal, share: ShareLink) -> None:
    """Take a link back; whoever has it open is refused on the next request."""
    links.revoke(share.link, context=principal.context, covers=_covers(share))


def revoke_all(principal: Principal, *, study: str = "", patient: str = "", maker: str = "") -> int:
    """Take back at once all links of a study, a patient, a person, or of the clinic; return how many that were."""
    rows = shares_seen_by(principal, study=study, patient=patient, maker=maker)
    chosen = Link.objects.filter(pk__in=list(rows.values_list("link_id", flat=True)))
    return links.revoke_many(chosen, context=principal.context)


def pause(principal: Principal, share: ShareLink) -> None:
    """Close a link until it is resumed."""
    links.pause(share.link, context=principal.context)


def resume(principal: Principal, share: ShareLink) -> None:
    """Open a paused link again; raises billing's LimitReachedError."""
    links.resume(share.link, context=principal.context)


def extend(principal: Principal, share: ShareLink, lifetime: timedelta) -> None:
    """Let a link end so long from now; raises LinkRefusedError and billing's LimitReachedError."""
    links.extend(share.link, lifetime, context=principal.context)


def _covers(share: ShareLink) -> list[ObjectReference]:
    return [study.audit_reference() for study in share.studies.select_related("patient")]


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
