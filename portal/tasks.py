"""Periodic work of the rooms that stand below the jobs and cannot register it themselves."""

from __future__ import annotations

import logging

from apps.audit.services import seal_events, verify_trail
from apps.jobs.services import periodic

log = logging.getLogger(__name__)
MINUTE, DAY = 60, 24 * 60 * 60

periodic("audit.seal", MINUTE)(seal_events)


@periodic("audit.verify", DAY)
def verify_audit() -> None:
    """Seal whatever an earlier pass left out, then recompute all seals; a bad one is an error in the log."""
    seal_events(everything=True)
    for report in verify_trail():
        if report.problem is not None:
            log.error("audit trail of clinic %s is not intact", report.clinic_id, extra={"code": report.problem.code})
