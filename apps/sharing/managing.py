"""The clinic's share links: which there are, and taking them back, closing, reopening, extending."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from apps.access.services import ObjectReference, Principal
from apps.accounts.roles import Capability
from apps.links import services as links
from apps.links.models import Link
from apps.sharing.models import ShareLink


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
