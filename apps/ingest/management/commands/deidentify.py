"""De-identify a folder into another: no database, no clinic, no server."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.dicom.burned_in.cleaner import TextCleaner
from apps.dicom.deidentify import PRESETS, KeyTooShortError, Mapper, Profile, batch, merge_reports, preset, verify
from apps.dicom.deidentify.mapping import key_from_file
from apps.dicom.uid import UUID_ROOT


class Command(BaseCommand):
    """`manage.py deidentify IN OUT --profile PRESET --key FILE [--jobs N] [--json] [--verify]`."""

    help = (
        "De-identify every DICOM file below IN into OUT and say what became of each. With --verify, look in OUT for "
        "what the files of IN say about patients and staff; where OUT is empty, it is filled first. Exits 1 when "
        "something of it is found, else 0, whatever became of single files."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("source", metavar="IN", type=Path, help="a folder, of any depth, or one file")
        parser.add_argument("target", metavar="OUT", type=Path, help="a folder; it is made if need be")
        parser.add_argument("--profile", required=True, metavar="PRESET", help=", ".join(PRESETS))
        parser.add_argument(
            "--key", required=True, metavar="FILE", type=Path, help="a file with 16 secret bytes or more"
        )
        parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that work side by side")
        parser.add_argument("--json", action="store_true", help="print one JSON object a line for each file")
        parser.add_argument(
            "--report", type=Path, metavar="FILE", help="write the summary of all reports there, as JSON"
        )
        parser.add_argument(
            "--uid-root", default=UUID_ROOT, metavar="ROOT", help="an own root for UIDs, instead of 2.25"
        )
        parser.add_argument("--verify", action="store_true", help="look in OUT for what IN holds")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        source, target = options["source"], options["target"]
        profile = self._profile(options["profile"])
        key = self._key(options["key"], options["uid_root"])
        if not source.exists():
            raise CommandError(f"There is no such file or folder: {source}")
        inside, outside = source.resolve(), target.resolve()
        if inside == outside or inside in outside.parents or outside in inside.parents:
            raise CommandError("IN and OUT must not lie in each other.")
        job = batch.Job(source, target, profile, key, options["uid_root"], make_cleaner=TextCleaner)
        if not (options["verify"] and target.is_dir() and any(target.iterdir())):
            self._deidentify(job, options)
        if options["verify"]:
            self._verify(job, is_json=options["json"])

    def _profile(self, name: str) -> Profile:
        try:
            return preset(name)
        except KeyError:
            raise CommandError(f"There is no profile {name!r}; there are {', '.join(PRESETS)}.") from None

    def _key(self, path: Path, uid_root: str) -> bytes:
        try:
            key = key_from_file(path.read_bytes())
            Mapper(key, uid_root)
        except OSError as error:
            raise CommandError(f"The key cannot be read: {error.strerror}") from error
        except (KeyTooShortError, ValueError) as error:
            raise CommandError(str(error)) from error
        return key

    def _deidentify(self, job: batch.Job, options: dict[str, Any]) -> None:
        counts: Counter[str] = Counter()
        outcomes: list[batch.Outcome] = []
        total = len(batch.files_below(job.source))
        try:
            with tqdm(total=total, unit=" files", file=sys.stderr, disable=None, mininterval=0.5) as bar:
                for outcome in batch.run(job, jobs=options["jobs"], progress=bar.update):
                    counts[outcome.outcome] += 1
                    self._say(outcome, is_json=options["json"])
                    outcomes.append(outcome)
        except OSError as error:
            raise CommandError(f"The output cannot be written: {error.strerror}") from error
        if options["report"] is not None:
            merged = merge_reports([one.report for one in outcomes if one.report is not None])
            merged["files"] = dict(sorted(counts.items()))
            options["report"].write_text(json.dumps(merged, indent=1), encoding="utf-8")
        if not options["json"]:
            words = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            self.stdout.write(f"{counts.total()} files: {words or 'none'}")

    def _say(self, outcome: batch.Outcome, *, is_json: bool) -> None:
        if is_json:
            self.stdout.write(json.dumps(outcome.as_dict()))
        elif outcome.outcome != "deidentified":
            tqdm.write(f"{outcome.outcome}: {outcome.path}: {outcome.message}", file=sys.stderr)

    def _verify(self, job: batch.Job, *, is_json: bool) -> None:
        found = 0
        for residue in verify.scan(job.source, job.target, job.profile):
            found += 1
            if is_json:
                self.stdout.write(json.dumps({"residue": residue.as_dict()}))
            else:
                self.stdout.write(f"residue: {residue.output}: {residue.element}: {residue.kind}")
        if found:
            raise CommandError(f"Found {found} places with something of the people in {job.source}.")
        if not is_json:
            self.stdout.write("Nothing of the people in the originals was found.")
