"""The door of the sharing room: hand studies to somebody outside, see who looked, take them back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.accounts.services import client_address
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.scoping import clinic_scope
from apps.links import services as links
from apps.links.errors import LinkUnavailableError
from apps.links.models import Link
from apps.notices.services import send_mail
from apps.sharing.errors import NotOnePatientError
from apps.sharing.models import ShareLink
from apps.studies.models import Study

KIND: Final = "share"
# What a recipient may do, besides downloading where the link says so. Searching finds the link's own studies only.
RECIPIENT_CAPABILITIES: Final = frozenset({Capability.STUDY_SEARCH, Capability.STUDY_VIEW})
RECHECK_BYTES: Final = 1 << 20


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
    may_download: bool = False,
    lifetime: timedelta = links.DEFAULT_LIFETIME,
    has_pin: bool = True,
    max_views: int | None = None,
) -> Shared:
    """Make a link to these studies of one patient, tell the clinic's owners, and return it with its secrets.

    All or nothing. Raises NotOnePatientError, the errors of `links.services.create`, and Http404 for a study that the
    sharer may not see.
    """
    chosen = list(studies)
    if len({study.patient_id for study in chosen}) != 1:
        raise NotOnePatientError
    if not all(principal.may_see(study) for study in chosen):
        raise Http404
    with transaction.atomic():
        made = links.create(
            principal.clinic,
            KIND,
            created_by=principal.user,
            context=principal.context,
            covers=[study.audit_reference() for study in chosen],
            lifetime=lifetime,
            has_pin=has_pin,
            max_views=max_views,
        )
        row = ShareLink.objects.create(
            clinic=principal.clinic, link=made.link, note=note.strip(), may_download=may_download
        )
        row.studies.set(chosen)
        for address in links.people_to_tell(made.link):
            if principal.user is None or address != principal.user.email:
                send_mail(address, "link_created", {"url": links.page_url(made.link)})
    return Shared(row, made.token, made.pin)


def shares_seen_by(principal: Principal) -> QuerySet[ShareLink]:
    """Return the links of the clinic, newest first: all for who may manage links, else the person's own."""
    rows = ShareLink.objects.select_related("link__clinic", "link__created_by")
    if Capability.LINK_MANAGE not in principal.capabilities:
        if principal.user is None:
            return rows.none()
        rows = rows.filter(link__created_by=principal.user)
    return rows.prefetch_related("studies__patient").order_by("-link__created_at", "-pk")


def views_of(share: ShareLink) -> QuerySet[AuditEvent]:
    """Return what the trail says of this link, newest first: who opened it from where, and what they looked at.

    The look-ups that the viewer makes on its own are left out; the audit page has them.
    """
    events = AuditEvent.objects.filter(
        clinic_id=share.clinic_id, actor_kind="link", actor_reference=share.link.public_id
    )
    return events.exclude(verb="study.searched").order_by("-timestamp", "-pk")


def revoke(principal: Principal, share: ShareLink) -> None:
    """Take a link back; whoever has it open is refused on the next request."""
    covers = [study.audit_reference() for study in share.studies.select_related("patient")]
    links.revoke(share.link, context=principal.context, covers=covers)


def cookie_name(link_reference: str) -> str:
    """Return the name of the cookie of one link; with HTTPS the prefix binds it to this host and to `/`."""
    return f"{settings.COOKIE_PREFIX}share-{link_reference}"


def visitor_context(request: HttpRequest) -> Context:
    """Return who asks outside any session of ours: an address and a browser, whoever may be signed in there."""
    return Context(
        actor_kind="anonymous",
        remote_addr=client_address(request),
        user_agent=request.headers.get("User-Agent", "")[:300],
        request_id=getattr(request, "request_id", ""),
    )


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
            with clinic_scope(principal.clinic):
                return keep_private(view(request, link_id, *args, **kwargs))
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


def keep_private(response: HttpResponseBase) -> HttpResponseBase:
    """Add what every answer about a link carries (SHARE-11, SHARE-13), and return it."""
    response.headers.setdefault("Cache-Control", "no-store")
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def not_available(request: HttpRequest) -> HttpResponseBase:
    """Return the one page for a link that opens nothing, whatever the reason (SHARE-14)."""
    return keep_private(render(request, "sharing/not_available.html", status=404))


def _recipient(request: HttpRequest, link_id: str) -> tuple[Principal, ShareLink]:
    try:
        session = links.resolve(link_id, request.COOKIES.get(cookie_name(link_id), ""), KIND)
    except LinkUnavailableError as error:
        raise Http404 from error
    link: Link = session.link
    with clinic_scope(link.clinic):
        row = ShareLink.objects.get(link=link)
        references = frozenset(row.studies.values_list("public_id", flat=True))
    row.link = link
    context = replace(links.replace_actor(visitor_context(request), link), session_hash=links.session_hash(session))
    capabilities = RECIPIENT_CAPABILITIES | ({Capability.STUDY_DOWNLOAD} if row.may_download else frozenset())
    principal = Principal(
        kind="link",
        clinic=link.clinic,
        capabilities=capabilities,
        context=context,
        user=None,
        patient_references=frozenset(),
        study_references=references,
    )
    return principal, row
