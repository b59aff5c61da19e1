"""Every answer of every flow, in real browsers over real sockets: nothing told of a patient before it was on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.installation import Installation
from tests.flows.tap import FILE, Tap, heard


def test_no_byte_of_a_patient_left_without_its_record_AUD_01(installation: Installation) -> None:
    """Runs behind the other flows, which share the installation."""
    assert installation.status("/healthz") == 200
    answers = heard(installation.data_dir)
    # A tap that hears nothing proves nothing.
    assert sum(answer["has_shown"] for answer in answers) > 5
    assert [answer for answer in answers if answer["has_shown"] and not answer["is_recorded"]] == []


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
