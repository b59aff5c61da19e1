"""Upload requests: a link by which somebody outside sends files into the clinic, and sees nothing of it.

The link itself is that of the links room: token, PIN, expiry, attempts, openings, taking it back. What it may bring is
counted here, in the transaction of each arrival; what it brought waits in the inbox (apps.ingest.inbox).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference, Principal
from apps.accounts.models import Membership
from apps.accounts.roles import Capability, Role
from apps.clinics.scoping import clinic_scope
from apps.ingest.errors import IngestError
from apps.ingest.models import UploadBatch, UploadRequest
from apps.links import services as links
from apps.links.errors import LinkUnavailableError
from apps.links.visitors import visitor_context
from apps.notices.services import send_mail

KIND: Final = "upload"
DEFAULT_FILES: Final = 5000
DEFAULT_BYTES: Final = 5 << 30
MAIL_STEP: Final = timedelta(hours=1)
# Of the clinic it may do this one thing, and it may see nothing: no study, no patient, no list.
SENDER_CAPABILITIES: Final = frozenset({Capability.UPLOAD_CREATE})


class RequestFullError(IngestError):
    """What was asked for has arrived: the request takes no more files, or not so many bytes."""

    code = "request-full"
    message = _("This link takes no more files. Please ask the clinic for a new one.")
    status = 413


@dataclass(frozen=True)
class MadeRequest:
    """A request just made, with the secrets that are shown this once."""

    request: UploadRequest
    token: str
    pin: str


def create_request(
    principal: Principal,
    *,
    title: str,
    note: str = "",
    lifetime: timedelta = links.DEFAULT_LIFETIME,
    has_pin: bool = True,
    max_uses: int | None = None,
    max_files: int = DEFAULT_FILES,
    max_bytes: int = DEFAULT_BYTES,
    is_mail_wanted: bool = True,
) -> MadeRequest:
    """Make a link to send files in, tell the clinic's owners, return it with its secrets; all or nothing (SHARE-05).

    It counts against the plan's links. `max_bytes` and `max_files` hold for all that ever comes by it, `max_uses` for
    how often it may be opened. Raises the errors of `links.services.create` and PermissionError.
    """
    if Capability.REQUEST_CREATE not in principal.capabilities:
        raise PermissionError
    with transaction.atomic():
        made = links.create(
            principal.clinic,
            KIND,
            created_by=principal.user,
            context=principal.context,
            covers=[ObjectReference("clinic", principal.clinic.public_id)],
            lifetime=lifetime,
            has_pin=has_pin,
            max_views=max_uses,
        )
        row = UploadRequest.objects.create(
            clinic=principal.clinic,
            link=made.link,
            title=title.strip(),
            note=note.strip(),
            max_files=max_files,
            max_bytes=max_bytes,
            is_mail_wanted=is_mail_wanted,
        )
        for address in links.people_to_tell(made.link):
            if principal.user is None or address != principal.user.email:
                send_mail(address, "upload_requested", {"url": links.page_url(made.link)})
    return MadeRequest(row, made.token, made.pin)


def requests_seen_by(principal: Principal) -> QuerySet[UploadRequest]:
    """Return the clinic's upload requests, newest first: all for who may manage links, else the person's own."""
    rows = UploadRequest.objects.select_related("link__clinic", "link__created_by", "link__parent")
    if Capability.LINK_MANAGE not in principal.capabilities:
        if principal.user is None:
            return rows.none()
        rows = rows.filter(link__created_by=principal.user)
    return rows.order_by("-link__created_at", "-pk")


def cookie_name(link_reference: str) -> str:
    """Return the name of the cookie of one request; with HTTPS the prefix binds it to this host and to `/`."""
    return f"{settings.COOKIE_PREFIX}upload-{link_reference}"


def sender_of(request: HttpRequest, link_id: str) -> tuple[Principal, UploadRequest]:
    """Return who acts under `/w/<link_id>/`, the link itself with one right, and its request.

    Reads link and session from the database each time, so that taking it back works on the next request. Whoever is
    signed in beside it is ignored. Raises Http404 when its cookie is missing or holds no more.
    """
    try:
        session = links.resolve(link_id, request.COOKIES.get(cookie_name(link_id), ""), KIND)
    except LinkUnavailableError as error:
        raise Http404 from error
    link = session.link
    with clinic_scope(link.clinic):
        row = UploadRequest.objects.get(link=link)
    row.link = link
    context = replace(links.replace_actor(visitor_context(request), link), session_hash=links.session_hash(session))
    nothing: frozenset[str] = frozenset()
    return Principal("link", link.clinic, SENDER_CAPABILITIES, context, None, nothing, nothing), row


def request_of(principal: Principal) -> UploadRequest | None:
    """Return the upload request that a principal is, None for everybody else.

    Asked whenever a batch is opened, so that nothing that comes by a link gets past the inbox.
    """
    if principal.kind != "link":
        return None
    return UploadRequest.objects.get(link__public_id=principal.context.actor_reference, link__kind=KIND)


def claim(batch: UploadBatch, file_count: int, size_bytes: int) -> None:
    """Count what arrives by a request against what it may bring, in the caller's transaction; else nothing happens.

    One statement decides, so that what is sent in parallel stays within the limits (RATE-02). Raises RequestFullError.
    """
    if batch.request_id is None:
        return
    has_room = Q(file_count__lte=F("max_files") - file_count, received_bytes__lte=F("max_bytes") - size_bytes)
    counted = UploadRequest.objects.filter(has_room, pk=batch.request_id).update(
        file_count=F("file_count") + file_count, received_bytes=F("received_bytes") + size_bytes
    )
    if not counted:
        raise RequestFullError


def check_room(batch: UploadBatch, file_count: int, size_bytes: int) -> None:
    """Raise RequestFullError for what would not fit, before it is sent; nothing is counted yet."""
    request = batch.request
    if request is not None and (
        request.file_count + file_count > request.max_files or request.received_bytes + size_bytes > request.max_bytes
    ):
        raise RequestFullError


def release(batch: UploadBatch, size_bytes: int) -> None:
    """Count back what was thrown away before it was a file."""
    if batch.request_id is not None:
        UploadRequest.objects.filter(pk=batch.request_id).update(received_bytes=F("received_bytes") - size_bytes)


def tell_arrival(row: UploadRequest) -> None:
    """Tell who made the request that something waits, at most once an hour; without its maker, the owners."""
    now = timezone.now()
    due = UploadRequest.objects.filter(Q(mailed_at=None) | Q(mailed_at__lte=now - MAIL_STEP), pk=row.pk)
    if not due.filter(is_mail_wanted=True).update(mailed_at=now):
        return
    clinic = row.link.clinic
    url = f"{settings.BASE_URL}{reverse('inbox', args=[clinic.slug])}"
    maker = row.link.created_by
    if maker is not None and Membership.objects.filter(user=maker, clinic=clinic, user__is_active=True).exists():
        addresses = [maker.email]
    else:
        owners = Membership.objects.filter(clinic=clinic, role=Role.OWNER, is_limited=False, user__is_active=True)
        addresses = sorted(owners.values_list("user__email", flat=True))
    for address in addresses:
        send_mail(address, "upload_arrived", {"url": url})
