"""A clinic's images as a sealed kit: opened with age (https://age-encryption.org) and a passphrase, nothing of ours.

`studies/<public id>.zip.age` has the folder that the plain kit has, and in it `SHA256SUMS` with the SHA-256 of every
file; all of them unpacked into one folder, with `INDEX.zip.age`, are what the plain kit is. `MANIFEST.jsonl` has the
hashes of the sealed files, and for each study a digest, under a key of the portal's own, by which a later run sees
whether it changed. Names and manifest say nothing of anybody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils import timezone

from apps.backup.age_format import NotOpenedError, seal, unseal
from apps.backup.errors import KitDamagedError
from apps.backup.kit import INDEX as INDEX_PAGE
from apps.backup.kit import Written, folder_of, studies_of
from apps.backup.kit_key import KEY, RECIPIENT, Ask, open_identity, open_recipient
from apps.backup.kit_manifest import MANIFEST, latest, sha256_of
from apps.backup.kit_places import KitPlace
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.services import File, Layout, files_of, members_of, zip_layout
from apps.keys.services import keyed_digest
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.services import iterate_blob
from apps.studies.models import Study

INDEX: Final = "INDEX.zip.age"
README: Final = "README.txt"
STUDIES: Final = "studies/"
SUMS: Final = "SHA256SUMS"
_PURPOSE: Final = "backup.kit-content"


@dataclass(frozen=True)
class Verified:
    """How many sealed files are whole, and how many plain files in them, if those were looked at."""

    sealed_count: int
    plain_count: int = 0


def write_sealed_kit(clinic: Clinic, place: KitPlace, *, passphrase: str, ask: Ask) -> Iterator[Written]:
    """Write a clinic's sealed kit to a place, or complete the one that is there; yield after each study.

    The passphrase may be empty: for a new kit `ask` is asked for one, an older one goes on without. A file that cannot
    be read is named in what is yielded, and everything else is written. Raises KitFolderError and KitKeyError.
    """
    place.prepare()
    kit = _Kit(clinic, place, open_recipient(place, clinic, passphrase, ask))
    for study in studies_of(clinic):
        with clinic_scope(clinic):
            written = kit.add(study)
        yield written
    kit.finish()


class _Kit:
    def __init__(self, clinic: Clinic, place: KitPlace, recipient: str) -> None:
        self.clinic, self.place, self.recipient = clinic, place, recipient
        self.known = latest(place.lines())
        self.entries: list[dict[str, Any]] = []
        self.sums: list[tuple[str, bytes]] = []
        for path in (KEY, RECIPIENT):
            self._note_what_is_there(path)
        if README not in self.known or place.size(README) is None:
            text = render_to_string("backup/sealed_kit.txt", {"studies": STUDIES, "sums": SUMS})
            place.write(README, [text.strip().replace("\n", "\r\n").encode() + b"\r\n"])
            self._note_what_is_there(README)

    def add(self, study: Study) -> Written:
        folder = folder_of(study)
        path = f"{STUDIES}{study.public_id}.zip.age"
        failed: list[str] = []
        try:
            files = files_of([study])
        except StorageError as error:
            # What the directory and the pictures are made from is gone; whatever can be read still goes into the kit.
            failed.append(f"{folder}/DICOMDIR: {error}")
            files = files_of([study], has_pages=False)
        is_new = False
        while files:
            sums, layout = self._laid_out(folder, files)
            content = self._content(layout)
            if self._is_there(path, content):
                break
            try:
                self._seal(path, layout, content)
                is_new = True
                break
            except StorageError as error:
                bad = _unreadable(files)
                failed += [f"{folder}/{file.path}: {why}" for file, why in bad]
                if not bad:
                    # It was readable just now: whoever runs this again gets it.
                    return Written(study, folder, 0, 0, (*failed, f"{path}: {error}"))
                names = {file.path for file, _why in bad}
                files = [file for file in files if file.path not in names]
        if not files:
            return Written(study, folder, 0, 0, tuple(failed))
        self.sums.append((f"{folder}/{SUMS}", hashlib.sha256(sums).digest()))
        self.entries.append({"study": study, "place": folder, "count": len(files), "archive": path})
        return Written(study, folder, int(is_new), int(not is_new), tuple(failed))

    def finish(self) -> None:
        now = timezone.now()
        context = {"clinic": self.clinic, "entries": self.entries, "at": timezone.localtime(now), "is_sealed": True}
        page = File(INDEX_PAGE, now, render_to_string("backup/kit.html", context).encode())
        sums = _sums_file([*self.sums, (page.path, page.sha256)])
        with clinic_scope(self.clinic):
            layout = zip_layout(self.clinic, [page, File(SUMS, now, sums)])
        self._seal(INDEX, layout, self._content(layout))
        self.place.close()

    def _laid_out(self, folder: str, files: Sequence[File]) -> tuple[bytes, Layout]:
        sums = _sums_file([(file.path, file.sha256) for file in files])
        # First, so that whoever verifies knows what is to come.
        moved = [File(SUMS, max(file.modified_at for file in files), sums), *files]
        moved = [replace(file, path=f"{folder}/{file.path}") for file in moved]
        return sums, zip_layout(self.clinic, moved)

    def _content(self, layout: Layout) -> str:
        return keyed_digest(_PURPOSE, f"{self.recipient} {layout.digest}".encode()).hex()

    def _is_there(self, path: str, content: str) -> bool:
        line = self.known.get(path, {})
        return line.get("content") == content and self.place.size(path) == line["size_bytes"]

    def _seal(self, path: str, layout: Layout, content: str) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        writer = self.place.begin(path)

        def write(piece: bytes) -> None:
            nonlocal size_bytes
            digest.update(piece)
            size_bytes += len(piece)
            writer.write(piece)

        try:
            seal(layout.iterate(self.clinic), self.recipient, write)
            writer.commit()
        except BaseException:
            writer.abort()
            raise
        self._note(path, digest.hexdigest(), size_bytes, content=content)

    def _note_what_is_there(self, path: str) -> None:
        content = b"".join(self.place.read(path))
        sha256 = hashlib.sha256(content).hexdigest()
        if self.known.get(path, {}).get("sha256") != sha256:
            self._note(path, sha256, len(content))

    def _note(self, path: str, sha256: str, size_bytes: int, **more: str) -> None:
        line = {"path": path, "sha256": sha256, "size_bytes": size_bytes, **more}
        self.place.note(json.dumps(line))
        self.known[path] = line


def verify_sealed_kit(place: KitPlace, passphrase: str = "") -> Verified:
    """Read every file of a sealed kit again; with the passphrase, every plain file in it, too.

    Compares the sealed files with the manifest, and the plain ones with the lists of hashes that were sealed with them.
    Needs neither database nor keys. Raises KitKeyError, and KitDamagedError naming the first file that differs.
    """
    lines = latest(place.lines())
    if not lines:
        raise KitDamagedError(MANIFEST)
    identity = open_identity(place, passphrase) if passphrase else ""
    plain_count = 0
    lists: dict[str, str] = {}
    index: dict[str, str] = {}
    is_complete = False
    for path, line in lines.items():
        digest = hashlib.sha256()
        chunks = _passing(place.read(path), digest.update)
        if identity and path.startswith(STUDIES):
            list_path, sha256, count = _verify_study(path, chunks, identity)
            lists[list_path] = sha256
            plain_count += count
            # Sealed after the index: the run broke off, and the index may know an older one.
            index.pop(list_path, None)
            is_complete = False
        elif identity and path == INDEX:
            index = _verify_index(chunks, identity)
            plain_count += 1
            is_complete = True
        for _chunk in chunks:
            pass
        if digest.hexdigest() != line["sha256"]:
            raise KitDamagedError(path)
    for path, sha256 in index.items():
        if lists.get(path, "" if is_complete else sha256) != sha256:
            raise KitDamagedError(path)
    return Verified(len(lines), plain_count)


def _verify_study(path: str, chunks: Iterator[bytes], identity: str) -> tuple[str, str, int]:
    """Return the path of a study's list, its SHA-256, and how many files were as it says."""
    with _opened(path, chunks, identity) as members:
        list_path, content = next(members, ("", iter(())))
        folder, _slash, name = list_path.rpartition("/")
        sums = b"".join(content)
        wanted = _sums_of(sums)
        count = len(wanted)
        if name != SUMS or not wanted:
            raise KitDamagedError(path)
        for member, content in members:
            if sha256_of(content) != wanted.pop(member.removeprefix(f"{folder}/"), None):
                raise KitDamagedError(f"{path}: {member}")
    if wanted:
        raise KitDamagedError(f"{path}: {folder}/{min(wanted)}")
    return list_path, hashlib.sha256(sums).hexdigest(), count


def _verify_index(chunks: Iterator[bytes], identity: str) -> dict[str, str]:
    """Return the SHA-256 of each study's list, by its path."""
    with _opened(INDEX, chunks, identity) as members:
        files = {name: b"".join(content) for name, content in members}
    lists = _sums_of(files.get(SUMS, b""))
    if lists.pop(INDEX_PAGE, None) != hashlib.sha256(files.get(INDEX_PAGE, b"")).hexdigest():
        raise KitDamagedError(f"{INDEX}: {INDEX_PAGE}")
    return lists


@contextmanager
def _opened(path: str, chunks: Iterator[bytes], identity: str) -> Iterator[Iterator[tuple[str, Iterator[bytes]]]]:
    """Give what is in a sealed archive; raises KitDamagedError for what the block finds wrong with it, too."""
    try:
        with closing(unseal(chunks, identity)) as plain:
            yield members_of(plain)
    except (NotOpenedError, ValueError):
        raise KitDamagedError(path) from None


def _unreadable(files: Sequence[File]) -> list[tuple[File, StorageError]]:
    found = []
    for file in files:
        if isinstance(file.content, Blob):
            try:
                for _chunk in iterate_blob(file.content):
                    pass
            except StorageError as error:
                found.append((file, error))
    return found


def _sums_file(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """Return what `sha256sum -c` reads."""
    return "".join(f"{sha256.hex()}  {path}\n" for path, sha256 in entries).encode()


def _sums_of(content: bytes) -> dict[str, str]:
    lines = [line.split("  ", 1) for line in content.decode(errors="replace").splitlines()]
    return {line[1]: line[0] for line in lines if len(line) == 2}


def _passing(chunks: Iterator[bytes], look: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        look(chunk)
        yield chunk
