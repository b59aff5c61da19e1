"""Every word that the portal says is said in German too, with nothing lost on the way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path

import polib
import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parents[2]
GERMAN = ROOT / "locale" / "de" / "LC_MESSAGES" / "django.po"

Message = tuple[str | None, str, str]
"""Context (None: none), text, plural text (empty: none)."""

# Functions that mark a text, and which of their arguments are context, text and plural text.
MARKS: dict[str, tuple[int | None, int, int | None]] = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop"), (None, 0, None)),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (None, 0, 1)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), (0, 1, None)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), (0, 1, 2)),
}

_LITERAL = r"""u?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_TEMPLATE_CALL = re.compile(rf"\b({'|'.join(MARKS)})\(((?:\s*{_LITERAL}\s*,?)+)(?:\s*count)?\)")
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|</?\w+>")


def _message(mark: str, arguments: Sequence[object]) -> Message | None:
    """Return what a call of a marking function marks, or None when it marks no literal text."""

    def text(position: int | None) -> str | None:
        if position is None or position >= len(arguments):
            return None
        argument = arguments[position]
        return argument if isinstance(argument, str) else None

    context, single, plural = MARKS[mark]
    said = text(single)
    return None if said is None else (text(context), said, text(plural) or "")


def _marked_in_python(source: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
            arguments = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            if message := _message(node.func.id, arguments):
                yield message


def _marked_in_template(source: str) -> Iterator[Message]:
    """Read what Django's own preparation for xgettext makes of the template: calls amid blanked-out text."""
    for call in _TEMPLATE_CALL.finditer(templatize(source)):
        if message := _message(call[1], [ast.literal_eval(text) for text in re.findall(_LITERAL, call[2])]):
            yield message


def _marked() -> set[Message]:
    """Return every text of the program and its templates that is marked for translation."""
    found: set[Message] = set()
    for folder in ("apps", "portal"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(_marked_in_python(path.read_text()))
    for path in (ROOT / "templates").rglob("*.*"):
        if path.suffix in {".html", ".txt"}:
            found.update(_marked_in_template(path.read_text()))
    return found


def _entries() -> list[polib.POEntry]:
    return list(polib.pofile(str(GERMAN)))


def _renderings(entry: polib.POEntry) -> list[tuple[str, str]]:
    """Return pairs of original and translation: one, or one for each plural form."""
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    return [(entry.msgid if form == 0 else entry.msgid_plural, said) for form, said in entry.msgstr_plural.items()]


def test_every_marked_text_is_in_the_catalogue() -> None:
    known = {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in _entries()}

    assert sorted(map(repr, _marked() - known)) == [], "run makemessages -l de, then translate"


def test_the_catalogue_holds_nothing_that_is_no_longer_said() -> None:
    known = {(entry.msgctxt, entry.msgid, entry.msgid_plural) for entry in _entries()}

    assert sorted(map(repr, known - _marked())) == [], "run makemessages -l de --no-obsolete"


def test_everything_is_translated_and_nothing_is_a_guess() -> None:
    entries = _entries()

    assert entries
    assert [entry.msgid for entry in entries if not all(said for _, said in _renderings(entry))] == []
    assert [entry.msgid for entry in entries if entry.fuzzy or entry.obsolete] == []


def test_plurals_have_the_two_forms_of_german() -> None:
    catalogue = polib.pofile(str(GERMAN))

    assert "nplurals=2; plural=(n != 1)" in catalogue.metadata["Plural-Forms"]
    assert [e.msgid for e in catalogue if e.msgid_plural and set(e.msgstr_plural) != {0, 1}] == []


def test_placeholders_and_tags_are_those_of_the_original() -> None:
    differing = [
        (original, said)
        for entry in _entries()
        for original, said in _renderings(entry)
        if sorted(_PLACEHOLDER.findall(original)) != sorted(_PLACEHOLDER.findall(said))
    ]

    assert differing == []


def test_line_breaks_are_kept_where_a_mail_needs_them() -> None:
    differing = [said for e in _entries() for text, said in _renderings(e) if text.count("\n") != said.count("\n")]

    assert differing == []


def test_answers_in_pairs_stay_pairs() -> None:
    """What the yesno filter takes apart at the comma: otherwise both answers read alike."""
    pairs = [entry for entry in _entries() if entry.msgid in {"yes,no", "allowed,not allowed"}]

    assert pairs
    assert [e.msgstr for e in pairs if len(set(e.msgstr.split(","))) != 2] == []


def test_people_are_addressed_formally() -> None:
    informal = re.compile(r"\b(du|dich|dir|dein\w*|euch|euer|eure\w*)\b", re.IGNORECASE)

    assert [said for e in _entries() for _, said in _renderings(e) if informal.search(said)] == []


def test_what_set_up_compiles_says_all_of_it() -> None:
    compiled = BytesIO()
    with GERMAN.open("rb") as source:
        write_mo(compiled, read_po(source))
    compiled.seek(0)
    german = GNUTranslations(compiled)

    for entry in _entries():
        if entry.msgid_plural:
            said = {n: german.ngettext(entry.msgid, entry.msgid_plural, n) for n in (1, 2)}
            assert said == {1: entry.msgstr_plural[0], 2: entry.msgstr_plural[1]}
        elif entry.msgctxt:
            assert german.pgettext(entry.msgctxt, entry.msgid) == entry.msgstr
        else:
            assert german.gettext(entry.msgid) == entry.msgstr


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{% translate "Open" context "verb" %}', {("verb", "Open", "")}),
        ("{{ day|date:_('j M') }}", {(None, "j M", "")}),
        ("{% blocktranslate with n=1 %}It's {{ n }}{% endblocktranslate %}", {(None, "It's %(n)s", "")}),
        (
            "{% blocktranslate count n=n %}{{ n }} file{% plural %}{{ n }} files{% endblocktranslate %}",
            {(None, "%(n)s file", "%(n)s files")},
        ),
    ],
)
def test_marks_in_templates_are_found(source: str, expected: set[Message]) -> None:
    """So that a missing translation cannot slip past the tests above."""
    assert set(_marked_in_template(f"{{% load i18n %}}<p>{source}</p>")) == expected


def test_marks_in_python_are_found() -> None:
    source = 'a = _("One" " text")\nb = ngettext("%d day", "%d days", n)\nc = pgettext_lazy("verb", "Open")\n'

    assert set(_marked_in_python(source)) == {
        (None, "One text", ""),
        (None, "%d day", "%d days"),
        ("verb", "Open", ""),
    }
