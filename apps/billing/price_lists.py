"""The two price lists that the practices know; rows of Plan from then on, changed in admin by dated new rows.

Storage is counted as it is sold: 1 GB is 10^9 bytes. Prices are US dollars a month in both lists.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Final

from apps.billing.models import Plan

GIGABYTE: Final = 1_000_000_000
VALID_FROM: Final = datetime.date(2024, 1, 1)

# locale, code, name, monthly price, gigabytes, is_default
_ROWS: Final = (
    ("en", "free", "Free", "0.00", 50, True),
    ("en", "practice", "Practice", "49.99", 100, False),
    ("en", "centre", "Centre", "399.99", 4_000, False),
    ("de", "start-de", "Start", "0.00", 100, True),
    ("de", "praxis-de", "Praxis", "99.99", 500, False),
    ("de", "zentrum-de", "Zentrum", "499.99", 2_000, False),
)


def add_missing_price_lists() -> int:
    """Create both price lists in a database that has no plan at all; return how many plans were made.

    A price list that somebody has edited, or emptied down to one plan, is never touched.
    """
    if Plan.objects.exists():
        return 0
    plans = [
        Plan(
            locale=locale,
            code=code,
            name=name,
            currency="USD",
            monthly_price=Decimal(price),
            storage_bytes=gigabytes * GIGABYTE,
            is_default=is_default,
            valid_from_date=VALID_FROM,
        )
        for locale, code, name, price, gigabytes, is_default in _ROWS
    ]
    return len(Plan.objects.bulk_create(plans))
