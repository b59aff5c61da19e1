"""A tap on every answer of a running installation, between the portal and gunicorn.

Before the first byte that tells of a patient leaves, the record that the answer names (X-Audit-Id) has to be committed:
it is looked up then, over a connection of the tap's own. What was heard is written to `tap.jsonl` beside the data
directory: no values, only where, and what was missing.
"""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from django.db import connection
from gunicorn.workers.gthread import ThreadWorker

FILE = "tap.jsonl"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Program files; they are the same for everybody.
PROGRAMS = ("/static/", "/ohif/", "/quick/")
# What shows a patient whatever can be read in it.
SHOWS_BY_TYPE = re.compile(
    r"(image/(jpeg|png|jls|jp2|jpx|jphc|dicom-rle)|video/|application/(zip|dicom|octet-stream|pdf|x-iso)|multipart/related)"
)
_WORDS = re.compile(r"[\^=\s,]+")
_LONGEST = 128
# What the pages say of themselves is no sign of a patient, even of one who is called so.
_OWN_WORDS = b"".join(path.read_bytes() for path in sorted(Path("templates").rglob("*.html")))


class Tap:
    """A WSGI application around the portal's."""

    def __init__(self, application: Application, log: Path) -> None:
        self._application = application
        self._log = log
        self._own = threading.local()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as the portal does, and listen."""
        if environ["PATH_INFO"].startswith(PROGRAMS):
            return self._application(environ, start_response)
        head: dict[str, Any] = {}

        def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            head.update(status=int(status[:3]), **{name.lower(): value for name, value in headers})
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return self._heard(environ, self._application(environ, started), head)

    def _heard(self, environ: dict[str, Any], body: Iterable[bytes], head: dict[str, Any]) -> Iterator[bytes]:
        kind = str(head.get("content-type", ""))
        shows = 200 <= head["status"] < 300 and environ["REQUEST_METHOD"] != "HEAD" and bool(SHOWS_BY_TYPE.match(kind))
        words = [] if shows else self._canaries()
        plain = zlib.decompressobj(47) if head.get("content-encoding") == "gzip" else None
        # Asked for at the first byte: a record that comes later is none.
        is_recorded: bool | None = None
        tail = b""
        has_shown = False
        try:
            for chunk in body:
                if chunk and is_recorded is None:
                    is_recorded = self._is_committed(str(head.get("x-audit-id", "")))
                if chunk and not has_shown:
                    text = tail + (plain.decompress(chunk) if plain else chunk)
                    has_shown = shows or any(word in text for word in words)
                    tail = text[-_LONGEST:]
                yield chunk
        finally:
            if hasattr(body, "close"):
                body.close()
            self._note(environ, head, kind, has_shown=has_shown, is_recorded=bool(is_recorded))

    def _note(
        self, environ: dict[str, Any], head: dict[str, Any], kind: str, *, has_shown: bool, is_recorded: bool
    ) -> None:
        line = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "status": head["status"],
            "type": kind,
            "has_shown": has_shown,
            "is_recorded": is_recorded,
        }
        # One write of one short line: the processes of the installation share the file.
        with self._log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _ask(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        if not hasattr(self._own, "connection"):
            self._own.connection = connection.copy()
        with self._own.connection.cursor() as cursor:
            cursor.execute(sql, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    def _is_committed(self, reference: str) -> bool:
        sql = "SELECT 1 FROM audit_auditevent WHERE public_id = %s AND outcome = 'success'"
        return bool(reference) and bool(self._ask(sql, reference))

    def _canaries(self) -> list[bytes]:
        """Return what says who a patient is: the longer words of the names, and the PatientIDs.

        Not what clinics and their people are called, too.
        """
        texts: set[str] = set()
        others = self._ask("SELECT name, '' FROM clinics_clinic UNION SELECT name, email FROM accounts_user")
        own = _OWN_WORDS + " ".join(text for row in others for text in row).encode()
        for name, identifier in self._ask("SELECT patient_name, dicom_patient_id FROM patients_patient"):
            texts |= {word for word in _WORDS.split(name) if len(word) > 4}
            # Ten noughts, as one sample has, stand in any round number.
            texts |= {identifier} if len(identifier) > 5 and len(set(identifier)) > 1 else set()
        return [word for word in map(str.encode, texts) if word not in own]


class TappedWorker(ThreadWorker):
    """gunicorn's worker, with the tap around the portal."""

    def load_wsgi(self) -> None:
        """Load the portal, and listen to it."""
        super().load_wsgi()
        self.wsgi = Tap(self.wsgi, Path(os.environ["PORTAL_DATA_DIR"]).parent / FILE)


def heard(data_dir: Path) -> list[dict[str, Any]]:
    """Return what the tap of an installation wrote down."""
    path = data_dir.parent / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
