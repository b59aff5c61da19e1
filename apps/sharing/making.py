"""Making a share link, for somebody outside or for a patient's own people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.http import Http404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from apps.access.services import Principal
from apps.audit.services import Context, record
from apps.deidentification import services as deidentification
from apps.deidentification.errors import UnreviewedError
from apps.links import services as links
from apps.links.errors import LinkRefusedError
from apps.links.models import Link
from apps.links.services import Factor
from apps.notices.services import send_mail
from apps.sharing.errors import NoBirthDateError, NotOnePatientError, NotReviewedError
from apps.sharing.models import ShareLink
from apps.studies.models import Study

KIND: Final = "share"
_NO_ADDRESS: Final = gettext_lazy("To send the link by mail, write down the address it goes to.")


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
