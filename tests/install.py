"""Bring what the tests need and pip cannot, through apt when this user may: servers, Chromium, a DICOM validator.

`python -m tests.install` ends with an error that names the missing packages otherwise.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "ffmpeg": lambda: bool(shutil.which("ffmpeg")),
    "dcmtk": lambda: bool(shutil.which("dcmmkdir")),
    "postgresql": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    "redis-server": lambda: bool(shutil.which("redis-server")),
    "chromium": lambda: bool(shutil.which("chromium")),
    "clamav-daemon": lambda: bool(shutil.which("clamd")),
    "dicom3tools": lambda: bool(shutil.which("dciodvfy")),
}


def main() -> None:
    """Install what is missing, or say so and fail."""
    missing = [package for package, is_there in PROGRAMS.items() if not is_there()]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"The tests need these packages: {', '.join(missing)}. Install them and start again.")
    # A package's own service would start otherwise; the tests start servers of their own.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], check=True, env=environment
    )


if __name__ == "__main__":
    main()
