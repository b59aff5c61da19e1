"""Litestream's files by their names: which of them, one after the other, make the database of a moment.

`<line>/ltx/<level>/<first>-<last>.ltx`: transactions first to last (16 hexadecimal digits each). Level 9 are whole
databases, level 0 is written each second, the levels between join what is below them
(https://litestream.io/how-it-works/). A line is one database file's history: a restored database begins another.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from apps.backup.errors import BackupIncompleteError

NAME: Final = re.compile(r"(?P<line>[^/]+)/ltx/(?P<level>\d)/(?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16})\.ltx")
SNAPSHOT: Final = 9
GRACE: Final = timedelta(milliseconds=1)
KEPT: Final = {
    0: timedelta(hours=1),
    1: timedelta(days=5),
    2: timedelta(days=7),
}
"""How long files of a level are kept once a higher one covers them; what is not named, as long as backups are.

Longer than Litestream keeps them on its own disk, or they would be shipped again."""


@dataclass(frozen=True)
class Link:
    """One file of the chain."""

    path: str
    line: str
    level: int
    first: int
    last: int
    written_at: datetime

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a whole database."""
        return self.level == SNAPSHOT


def link_of(path: str, modified_ns: int) -> Link | None:
    """Return what a path says, None if it is no file of Litestream's."""
    if not (found := NAME.fullmatch(path)):
        return None
    written_at = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    return Link(path, found["line"], int(found["level"]), int(found["first"], 16), int(found["last"], 16), written_at)


def plan(links: Iterable[Link], at: datetime | None = None) -> list[Link]:
    """Return the files that make the database as of then (or the newest one), the snapshot first.

    Raises BackupIncompleteError naming what is missing: a snapshot before then, or a transaction between others.
    """
    usable = [link for link in links if at is None or link.written_at <= at + GRACE]
    snapshots = [link for link in usable if link.is_snapshot]
    if not snapshots:
        when = f" before {at:%Y-%m-%d %H:%M:%S} UTC" if at else ""
        raise BackupIncompleteError(f"There is no snapshot of the database{when}.", "snapshot")
    newest_line = max(snapshots, key=lambda link: (link.line, link.last)).line
    of_line = [link for link in usable if link.line == newest_line]
    chain = [max((link for link in of_line if link.is_snapshot), key=lambda link: link.last)]
    beyond = max(link.last for link in of_line)
    while chain[-1].last < beyond:
        at_transaction = chain[-1].last
        fitting = [link for link in of_line if link.first <= at_transaction + 1 <= link.last]
        if not fitting:
            item = f"{newest_line}: transaction {at_transaction + 1:016x}"
            raise BackupIncompleteError(f"The chain is broken: {item} is missing.", item)
        chain.append(max(fitting, key=lambda link: link.last))
    return chain


def superfluous(links: Sequence[Link], now: datetime, kept: timedelta) -> list[Link]:
    """Return the files that are not to be kept any more.

    A file goes when a higher level covers it and its time is over, and whatever is older than ``kept``: keys that were
    destroyed since are in it. Only the newest snapshot of all, and what came after it, stays however old it is.
    """
    by_line: dict[str, list[Link]] = defaultdict(list)
    for link in links:
        by_line[link.line].append(link)
    newest_line = max((link.line for link in links if link.is_snapshot), default="")
    gone: list[Link] = []
    for line, of_line in by_line.items():
        snapshots = [link for link in of_line if link.is_snapshot]
        newest = max((link.last for link in snapshots), default=0) if line == newest_line else None
        staying = [link.last for link in snapshots if link.written_at >= now - kept or link.last == newest]
        floor = min(staying, default=0)
        for link in of_line:
            is_before = link.last < floor
            is_expired = link.written_at < now - kept and (newest is None or link.last < newest)
            is_joined = link.level in KEPT and link.written_at < now - KEPT[link.level] and _is_covered(link, of_line)
            if is_before or is_expired or is_joined:
                gone.append(link)
    return gone


def _is_covered(link: Link, of_line: Iterable[Link]) -> bool:
    return any(
        link.level < other.level < SNAPSHOT and other.first <= link.first and link.last <= other.last
        for other in of_line
    )
