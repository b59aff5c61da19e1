"""What a clinical document says, as lines that people can read (HL7 CDA R2, encapsulated by PS3.3 A.45.2).

Only the narrative is taken, which every CDA document has (HL7 CDA R2 4.3.5): titles of sections and their texts. No
stylesheet is applied, no reference followed, no entity expanded: a document that declares any is refused.
"""

from __future__ import annotations

from xml.parsers import expat

from .errors import Code, RejectedError
from .report import MAX_ITEMS, ReportItem

MAX_DEPTH = 60
# Narrative blocks that begin on a line of their own (CDA R2 4.3.5).
_BLOCKS = frozenset({"paragraph", "item", "tr", "br", "caption", "list", "table", "text", "th", "td"})


def cda_items(content: bytes) -> list[ReportItem]:
    """Return the lines of a document: the title of a section is a name, its text a value; at most MAX_ITEMS.

    Raises `RejectedError` (`malformed`) for what is no XML, nests too deeply or declares a document type.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.buffer_text = True
    try:
        parser.Parse(content.rstrip(b"\0 \r\n\t"), True)
    except expat.ExpatError as error:
        raise RejectedError(Code.MALFORMED) from error
    return reader.items


def _refuse(*args: object) -> None:
    raise RejectedError(Code.MALFORMED)


class _Reader:
    """Collects lines while the document is read from its beginning to its end."""

    def __init__(self) -> None:
        self.items: list[ReportItem] = []
        self._path: list[str] = []
        self._words: list[str] = []
        self._sections = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if len(self._path) >= MAX_DEPTH:
            raise RejectedError(Code.MALFORMED)
        if local == "section":
            self._sections += 1
        if local in ("title", "text"):
            self._words.clear()
        elif local in _BLOCKS and self._is_inside("text"):
            self._words.append(" | " if local in ("td", "th") else "\n")
        self._path.append(local)

    def end(self, name: str) -> None:
        local = self._path.pop()
        if local == "title":
            self._add(self._said(), "")
        elif local == "text" and not self._is_inside("text"):
            self._add("", self._said())
        elif local == "section":
            self._sections -= 1

    def text(self, data: str) -> None:
        if self._is_inside("text") or self._is_inside("title"):
            self._words.append(data)

    def _is_inside(self, name: str) -> bool:
        return name in self._path

    def _said(self) -> str:
        # Line ends of the file are spaces; only a block begins a line.
        words = (word if word == "\n" else " ".join(word.replace("\n", " ").split(" ")) for word in self._words)
        lines = "".join(words).split("\n")
        self._words.clear()
        tidy = (" ".join(line.split()).strip(" |") for line in lines)
        return "\n".join(line for line in tidy if line)

    def _add(self, name: str, value: str) -> None:
        if (name or value) and len(self.items) < MAX_ITEMS:
            self.items.append(ReportItem(self._sections, name, value, "TEXT"))
