"""The door of the sharing room: hand studies to somebody outside, see who looked, take them back."""

from __future__ import annotations

from apps.links.visitors import keep_private, visitor_context
from apps.sharing.entering import (
    asks_of,
    cookie_name,
    link_principal,
    not_available,
    only_study_of,
    open_share,
    recipient_page,
    visible_studies,
    watermark_of,
    while_shared,
)
from apps.sharing.making import KIND, Shared, address_of, pass_on, share
from apps.sharing.managing import children_of, extend, pause, resume, revoke, revoke_all, shares_seen_by
from apps.sharing.visits import VisitSummary, refusals_of, visits_of

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
    "only_study_of",
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
