"""What axe-core finds on a page (WCAG 2.2 A and AA, and its best practices): used by every flow that shows a page.

axe covers a part of WCAG only: focus order, target sizes and the keyboard are looked at by the flows themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from playwright.sync_api import Page

AXE = Path(settings.BASE_DIR) / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")
SCHEMES = ("light", "dark")


def faults_of(page: Page, *, impacts: Iterable[str] = GRAVE) -> list[str]:
    """Return what is wrong with the page as it stands, each with the first element that it is said of."""
    if not page.evaluate("'axe' in window"):
        # Evaluated by the debugger, which the page's content policy does not bind.
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    return [
        f"{one['id']} ({one['impact']}, {len(one['nodes'])}): {one['nodes'][0]['html'][:160]}"
        f" {' '.join(one['nodes'][0].get('failureSummary', '').split())[:200]}"
        for one in found
        if one["impact"] in impacts
    ]


def faults_in_both_schemes(page: Page) -> list[str]:
    """Return the faults in light and in dark."""
    faults: list[str] = []
    for scheme in SCHEMES:
        # Colours that fade over are not yet what they will be: without motion they change at once.
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_timeout(250)
        found = faults_of(page)
        if found:
            # A busy machine may still be painting: what stays is a fault.
            page.wait_for_timeout(2000)
            found = faults_of(page)
        faults += [f"{scheme} {page.url}: {fault}" for fault in found]
    return faults
