"""What workers do for exports: prepare them, and remove them when their time is over."""

from __future__ import annotations

from collections.abc import Callable

from apps.exports import anchors, preparing
from apps.exports.models import Export
from apps.exports.services import layout_of
from apps.jobs.models import Job
from apps.jobs.services import periodic, register


@register(preparing.PREPARE)
def prepare_export(job: Job) -> Callable[[], None] | None:
    """Prepare one export; one that is gone or ready needs nothing."""
    rows = Export.objects.select_related("clinic")
    export = rows.filter(pk=job.payload["export_id"], state__in=("waiting", "running")).first()
    if export is None:
        return None
    clinic = export.clinic
    try:
        return preparing.prepare(export, lambda studies, kind: layout_of(clinic, studies, kind).iterate(clinic))
    except Exception:
        if job.attempts >= Job.MAX_ATTEMPTS:
            preparing.fail(export)
        raise


_anchored: dict[int, int] = {}


@periodic("exports.anchor", every_seconds=60)
def anchor() -> int:
    """Carry the newest seals out of reach, where the installation names places for them."""
    return anchors.anchor_new_seals(_anchored)


@periodic("exports.remove-expired", every_seconds=900)
def remove_expired() -> int:
    """Remove prepared exports whose time is over."""
    return preparing.remove_expired()
