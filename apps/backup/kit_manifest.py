"""The manifest of a kit: a line of JSON for each file, added once it is durable; the last one of a file counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

MANIFEST: Final = "MANIFEST.jsonl"


def latest(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the last word on each path, in the order in which they were said.

    A line that a crash cut short counts as not written.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found.pop(line["path"], None)
        found[line["path"]] = line
    return found


def sha256_of(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of a file given in pieces, as the manifest writes it."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
