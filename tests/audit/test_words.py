"""Every verb that the code records has words of its own on the audit page."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings

from apps.audit.words import GROUPS, VERBS, detail_words, verb_words

_RECORDED = re.compile(
    r"""(?:\brecord(?:_for_person)?\(\s*|\bverb\s*=\s*|\bEntry\(\s*|_record\(\s*)"([a-z_]+(?:\.[a-z_]+)+)\""""
)


def test_every_recorded_verb_has_words() -> None:
    found: dict[str, str] = {}
    for source in Path(settings.BASE_DIR, "apps").rglob("*.py"):
        for verb in _RECORDED.findall(source.read_text()):
            found[verb] = source.name
    assert len(found) > 5, "the pattern finds what is recorded"
    assert {verb: where for verb, where in found.items() if verb not in VERBS} == {}


def test_a_verb_without_words_is_spelled_out() -> None:
    assert verb_words("robot.waved_back") == "Robot waved back"


def test_details_are_said_in_words() -> None:
    assert detail_words("is_limited", True) == "is limited: yes"
    assert detail_words("study_references", ["a", "b"]) == "study: a, b"


def test_group_names_are_fit_for_addresses() -> None:
    assert all(re.fullmatch(r"[a-z-]+", name) for name in GROUPS)
