"""Sizes as they are sold: 1 GB is 10^9 bytes."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _

_STEPS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def decimal_size(size_bytes: int) -> str:
    """Return a size with its unit, three significant digits at most after the thousands: "49.8 GB", "4,000 GB".

    Up to 10 TB is said in GB, because that is how plans are named.
    """
    for factor, unit in _STEPS:
        if size_bytes >= factor and (unit != "TB" or size_bytes >= 10 * factor):
            amount = size_bytes / factor
            digits = 0 if amount >= 100 or amount == int(amount) else 1
            return f"{number_format(amount, decimal_pos=digits, use_l10n=True, force_grouping=True)} {unit}"
    return _("%(count)s bytes") % {"count": size_bytes}
