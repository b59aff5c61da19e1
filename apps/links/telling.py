"""Who is told of a link by mail, and when: that it was opened, that it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Membership
from apps.accounts.roles import Role
from apps.links.holding import is_live, with_its_people
from apps.links.models import Link
from apps.notices.services import send_mail

# Who made a link hears of openings at most this often, and of its end so long before it.
NOTICE_STEP: Final = timedelta(hours=1)
REMIND_BEFORE: Final = timedelta(hours=24)
REMIND_LIFETIME: Final = timedelta(hours=48)


def people_to_tell(link: Link) -> list[str]:
    """Return the e-mail addresses of who made the link and of the clinic's owners, each once."""
    owners = Membership.objects.filter(clinic_id=link.clinic_id, role=Role.OWNER, user__is_active=True)
    addresses = set(owners.values_list("user__email", flat=True))
    if link.created_by is not None and link.created_by.is_active:
        addresses.add(link.created_by.email)
    return sorted(addresses)


def page_url(link: Link) -> str:
    """Return where the clinic's people see this link; for mails, since there is no request to ask."""
    name = {"upload": "upload-request"}.get(link.kind, "link-detail")
    return str(settings.BASE_URL) + reverse(name, args=[link.clinic.slug, link.public_id])


def tell_opened(link: Link) -> None:
    """Tell who made the link that it was opened, at most once an hour."""
    maker = link.created_by
    if maker is None or not maker.is_active:
        return
    now = timezone.now()
    with transaction.atomic():
        due = Link.objects.filter(Q(notified_at=None) | Q(notified_at__lte=now - NOTICE_STEP), pk=link.pk)
        if due.update(notified_at=now):
            send_mail(maker.email, "link_opened", {"url": page_url(link)})


def remind() -> int:
    """Remind, a day before the end, who made a link that nobody opened, and the recipient whose address we know.

    Returns how many links that were. Links that live for two days or less remind nobody.
    """
    now = timezone.now()
    due = with_its_people().filter(
        is_live(now), reminded_at=None, expires_at__lte=now + REMIND_BEFORE, kind="share", parent=None
    )
    count = 0
    for link in due.order_by("pk")[:500]:
        with transaction.atomic():
            if not Link.objects.filter(pk=link.pk, reminded_at=None).update(reminded_at=now):
                continue
            if link.expires_at - (link.starts_at or link.created_at) <= REMIND_LIFETIME:
                continue
            count += 1
            if link.recipient_email:
                send_mail(link.recipient_email, "link_ends_recipient", {"expires_at": link.expires_at})
            if not link.view_count and link.created_by is not None and link.created_by.is_active:
                send_mail(link.created_by.email, "link_ends", {"url": page_url(link)})
    return count
