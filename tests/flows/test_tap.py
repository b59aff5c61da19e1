"""The tap on every answer of the flows hears what nobody recorded; when they end, conftest.py judges what it heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.tap import FILE, Tap


@pytest.mark.parametrize(("text", "has_shown"), [(b"Mus", False), (b"..Muster..", True), (b"PAT-0815", True)])
def test_the_tap_hears_what_nobody_recorded(tmp_path: Path, text: bytes, has_shown: bool) -> None:
    class Deaf(Tap):
        def _ask(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
            return [("Muster^Erika", "PAT-0815")] if "patients" in sql else []

    def portal(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("X-Audit-Id", "unknown")])
        return [text[:4], text[4:]]

    answer = Deaf(portal, tmp_path / FILE)({"PATH_INFO": "/c/a/", "REQUEST_METHOD": "GET"}, lambda *_: None)
    assert b"".join(answer) == text
    [line] = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert (line["has_shown"], line["is_recorded"]) == (has_shown, False)
