"""A folder in, a folder out: every file de-identified or its reason said, and nothing of a name left in a path."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from apps.dicom.errors import DicomError, IgnoredError, RejectedError
from apps.dicom.uid import is_valid_uid

from .engine import deidentify
from .errors import NeedsReviewError
from .identity import Identity, fold
from .mapping import Mapper
from .pixels import PixelCleaner
from .profile import Profile
from .report import Report

PARTIAL: Final = ".deidentify-partial"
_CHUNK: Final = 32
_UID_IN_NAME: Final = re.compile(r"(?<![\d.])[0-2](?:\.\d+){4,}(?![\d])")
_MIN_NUMBER: Final = 4
_MIN_PART: Final = 6
"""Shorter numbers are compared with whole words of a path: every counter holds some."""


@dataclass(slots=True)
class Outcome:
    """What became of one file."""

    path: str
    """Below the folder read."""
    outcome: str
    """``deidentified``, ``needs-review``, ``rejected``, ``ignored`` or ``failed``."""
    code: str = ""
    reason: str = ""
    message: str = ""
    output: str = ""
    """Below the folder written."""
    report: Report | None = None
    identity: Identity | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for JSON; the report belongs to it."""
        made: dict[str, Any] = {"path": self.path, "outcome": self.outcome}
        for name in ("code", "reason", "message", "output"):
            if getattr(self, name):
                made[name] = getattr(self, name)
        if self.report is not None:
            made["report"] = self.report.as_dict()
        return made


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted, relative to it. A single file is a folder of one."""
    if folder.is_file():
        return [Path(folder.name)]
    found = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        found += [(Path(root) / name).relative_to(folder) for name in names]
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know."""

    source: Path
    target: Path
    profile: Profile
    key: bytes
    uid_root: str
    make_cleaner: "Callable[[], PixelCleaner] | None" = None


_worker: dict[str, Any] = {}


def _start(job: Job) -> None:
    _worker["job"] = job
    _worker["mapper"] = Mapper(job.key, job.uid_root)
    _worker["cleaner"] = job.make_cleaner() if job.make_cleaner is not None else None


def _work(chunk: list[tuple[int, str]]) -> list[Outcome]:
    job: Job = _worker["job"]
    return [one_file(job, _worker["mapper"], _worker["cleaner"], number, path) for number, path in chunk]


def one_file(job: Job, mapper: Mapper, cleaner: PixelCleaner | None, number: int, path: str) -> Outcome:
    """De-identify one file into the folder of what is not finished."""
    source = job.source if job.source.is_file() else job.source / path
    try:
        result = deidentify(source.read_bytes(), job.profile, mapper, pixel_cleaner=cleaner)
    except NeedsReviewError as error:
        return Outcome(path, "needs-review", str(error.code), str(error.reason), error.message)
    except IgnoredError as error:
        return Outcome(path, "ignored", str(error.code), message=error.message)
    except RejectedError as error:
        return Outcome(path, "rejected", str(error.code), message=error.message)
    except DicomError as error:
        return Outcome(path, "failed", str(error.code), message=error.message)
    except OSError as error:
        return Outcome(path, "failed", "unreadable-file", message=error.strerror or "The file cannot be read.")
    except Exception as error:
        # The wall behind which one file must not stop the others. Its text may quote the file: only the kind is told.
        return Outcome(path, "failed", "malformed", message=f"The file cannot be processed ({type(error).__name__}).")
    partial = job.target / PARTIAL / str(number)
    try:
        with partial.open("wb") as file:
            result.write_to(file)
    except OSError as error:
        return Outcome(path, "failed", "unwritable-file", message=error.strerror or "The file cannot be written.")
    return Outcome(path, "deidentified", report=result.report, identity=result.identity)


def run(job: Job, *, jobs: int = 1, progress: Callable[[], object] = lambda: None) -> Iterator[Outcome]:
    """De-identify every file below ``job.source`` into ``job.target``; yield the outcomes when all is in place.

    Files keep their places and names, except where a name holds a name, a number or a UID of the people in the
    files: that part is replaced under the key. Raises ``OSError`` when the target cannot be written at all.
    """
    paths = [str(path) for path in files_below(job.source)]
    folder = job.target / PARTIAL
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    numbered = iter(list(enumerate(paths)))
    chunks = iter(lambda: list(islice(numbered, _CHUNK)), [])
    outcomes: list[Outcome] = []
    if jobs <= 1:
        _start(job)
        for chunk in chunks:
            for one in chunk:
                outcomes += _work([one])
                progress()
    else:
        with ProcessPoolExecutor(jobs, initializer=_start, initargs=(job,)) as pool:
            for done in pool.map(_work, chunks):
                outcomes += done
                for _ in done:
                    progress()
    yield from _place(job, outcomes)
    folder.rmdir()


def _place(job: Job, outcomes: list[Outcome]) -> Iterator[Outcome]:
    """Move finished files to where they belong."""
    names = _Names(Mapper(job.key, job.uid_root), [one.identity for one in outcomes if one.identity is not None])
    taken: set[str] = set()
    for number, outcome in enumerate(outcomes):
        outcome.identity = None
        if outcome.outcome == "deidentified":
            name = names.clean(outcome.path)
            while name in taken:
                name = f"{name}_{number}"
            taken.add(name)
            place = job.target / name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                (job.target / PARTIAL / str(number)).replace(place)
            except OSError as error:
                outcome.outcome, outcome.code = "failed", "unwritable-file"
                outcome.message = error.strerror or "The file cannot be written."
                outcome.report = None
                (job.target / PARTIAL / str(number)).unlink(missing_ok=True)
            else:
                outcome.output = name
        yield outcome


class _Names:
    """Cleans paths of what all files together say about the people in them."""

    def __init__(self, mapper: Mapper, identities: list[Identity]) -> None:
        self.mapper = mapper
        self.names: set[str] = set()
        self.numbers: set[str] = set()
        for identity in {id(one): one for one in identities}.values():
            self.names |= {name for name in identity.names if len(name) >= 3}
            self.numbers |= {number for number in identity.numbers if len(number) >= _MIN_NUMBER}
            self.numbers |= identity.dates
        self.cache: dict[str, str] = {}

    def clean(self, path: str) -> str:
        """Return a path whose parts name nobody."""
        return "/".join(self._part(part) for part in Path(path).parts)

    def _part(self, part: str) -> str:
        known = self.cache.get(part)
        if known is None:
            known = self.cache[part] = self._clean_part(part)
        return known

    def _clean_part(self, part: str) -> str:
        mapped = _UID_IN_NAME.sub(lambda match: self._uid(match.group()), part)
        rest = _UID_IN_NAME.sub("", part)
        stem, suffix = os.path.splitext(rest)
        folded = fold(stem)
        squeezed = re.sub(r"[\W_]+", "", folded)
        words = set(re.findall(r"[^\W\d_]+", folded))
        has_name = bool(words & self.names) or any(name in squeezed for name in self.names if len(name) >= 4)
        digits = re.sub(r"\D+", "", folded)
        tokens = set(re.findall(r"[^\W_]+", folded))
        has_number = any(
            number in tokens
            if len(number) < _MIN_PART
            else number in squeezed or (number.isdecimal() and number in digits)
            for number in self.numbers
        )
        if not has_name and not has_number and fold(suffix).strip(".") not in self.names:
            return mapped
        kept_suffix = suffix if suffix.lower() in (".dcm", ".dicom", ".ima", ".img") else ""
        return self.mapper.label("path", part) + kept_suffix

    def _uid(self, uid: str) -> str:
        return self.mapper.uid(uid) if is_valid_uid(uid) else self.mapper.label("path", uid)
