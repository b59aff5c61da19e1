"""Import what Viewbox hands out into Orthanc, and compare every instance: `python -m tests.exports.orthanc FILE...`

FILE is a ZIP or a disc image that was downloaded. Needs the Debian package orthanc; starts one of its own on a free
port with an empty database in a folder of its own, and ends it. A longer form of tests/exports/test_media.py, kept out
of the suite: Orthanc takes seconds to start.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pydicom
from pycdlib import PyCdlib

from tests.servers import free_port


def files_of(path: Path) -> dict[str, bytes]:
    """Return the DICOM files of a ZIP or a disc image."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name.startswith("DICOM/")}
    disc, found = PyCdlib(), {}
    disc.open(str(path))
    for folder, _folders, names in disc.walk(iso_path="/DICOM"):
        for name in names:
            out = io.BytesIO()
            disc.get_file_from_iso_fp(out, iso_path=f"{folder}/{name}")
            found[f"{folder}/{name}"] = out.getvalue()
    disc.close()
    return found


class Orthanc:
    """An Orthanc of our own, empty."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        settings = {
            "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": self.port,
            "DicomServerEnabled": False, "AuthenticationEnabled": False, "RemoteAccessAllowed": False, "Plugins": [],
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        program = shutil.which("Orthanc") or sys.exit("Install the package orthanc.")
        self.process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """Return the body of an answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data=body, timeout=600) as answer:
            content: bytes = answer.read()
            return content

    def wait(self) -> None:
        """Return when it answers."""
        for _ in range(200):
            try:
                self.ask("/system")
            except OSError:
                time.sleep(0.1)
            else:
                return
        sys.exit("Orthanc does not answer.")


def compare(orthanc: Orthanc, path: Path) -> None:
    """Import a file's content and compare each instance byte for byte with what Orthanc gives back."""
    wanted = {}
    for content in files_of(path).values():
        uid = str(
            pydicom.dcmread(
                io.BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]
            ).SOPInstanceUID
        )
        wanted[uid] = hashlib.sha256(content).hexdigest()
    started = time.monotonic()
    if zipfile.is_zipfile(path):
        orthanc.ask("/instances", path.read_bytes())  # it takes archives whole
    else:
        for content in files_of(path).values():
            orthanc.ask("/instances", content)
    stored: list[Any] = json.loads(orthanc.ask("/instances?expand"))
    found = {
        one["MainDicomTags"]["SOPInstanceUID"]: hashlib.sha256(orthanc.ask(f"/instances/{one['ID']}/file")).hexdigest()
        for one in stored
    }
    identical = sum(found.get(uid) == digest for uid, digest in wanted.items())
    print(f"{path.name}: {identical} of {len(wanted)} identical, {time.monotonic() - started:.1f} s")
    if identical != len(wanted) or not wanted:
        sys.exit(1)
    for one in stored:
        urllib.request.urlopen(  # each file is compared on its own
            urllib.request.Request(f"http://127.0.0.1:{orthanc.port}/instances/{one['ID']}", method="DELETE"),
            timeout=60,
        ).close()


def main() -> None:
    """Compare each file that is named."""
    with tempfile.TemporaryDirectory() as folder:
        orthanc = Orthanc(Path(folder))
        try:
            orthanc.wait()
            for name in sys.argv[1:] or sys.exit(__doc__):
                compare(orthanc, Path(name))
        finally:
            orthanc.process.terminate()
            orthanc.process.wait(30)


if __name__ == "__main__":
    main()
