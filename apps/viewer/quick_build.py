"""Builds the quick viewer from ``static/viewer`` into ``static/root/quick/<build>/``, served at ``/quick/<build>/``.

Two files start it: ``boot.js`` is a few kilobytes and draws the first picture, ``main.js`` is Cornerstone3D and ours.
``<build>`` is a digest of everything that goes in, so that every file below it can be cached for ever.
"""

import json
import os
import shutil
from typing import Final

from apps.viewer.assets import QUICK, QUICK_URL
from apps.viewer.node import LOCKED, NODE, NODE_MODULES, ROOT, BuildError, compress, digest_of, run

SOURCES: Final = ROOT / "static" / "viewer"
EXPECTED: Final = ("boot.js", "main.js", "decodeImageFrameWorker.js")
# In the bundle only because its libraries can load it: it works on segmentations, which the quick viewer does not edit.
DROPPED: Final = ("computeWorker.js",)


def build_digest() -> str:
    """Sixteen hex digits over the sources, the packages and how they are put together."""
    sources = sorted(path for path in SOURCES.rglob("*.js") if path.is_file())
    return digest_of([ROOT / "apps" / "viewer" / "quick_build.py", *LOCKED, *sources])


def is_current(build: str) -> bool:
    """Whether what stands in ``static/root/quick`` is what ``build`` would make."""
    manifest = QUICK / "build.json"
    return manifest.is_file() and json.loads(manifest.read_text()).get("build") == build and (QUICK / build).is_dir()


def build_quick(build: str) -> None:
    """Make ``static/root/quick/<build>`` whole or not at all; earlier builds go once the new one stands."""
    QUICK.mkdir(parents=True, exist_ok=True)
    folder = NODE_MODULES / f".quick-{os.getpid()}"
    try:
        run(
            NODE,
            NODE_MODULES / "vite" / "bin" / "vite.js",
            "build",
            "--config",
            SOURCES / "vite.config.js",
            variables={"QUICK_OUT": str(folder), "QUICK_BASE": f"{QUICK_URL}{build}/", "NODE_ENV": "production"},
        )
        run(
            NODE,
            NODE_MODULES / "esbuild" / "bin" / "esbuild",
            SOURCES / "boot.js",
            "--bundle",
            "--minify",
            "--format=iife",
            "--target=es2022",
            "--log-level=error",
            f"--outfile={folder / 'boot.js'}",
        )
        missing = [name for name in (*EXPECTED, *DROPPED) if not (folder / name).is_file()]
        if missing:
            raise BuildError(f"the quick viewer came out without {', '.join(missing)}")
        for name in DROPPED:
            (folder / name).unlink()
        compress(folder)
        shutil.rmtree(QUICK / build, ignore_errors=True)
        folder.rename(QUICK / build)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    manifest = QUICK / "build.json.new"
    manifest.write_text(json.dumps({"build": build}) + "\n")
    manifest.replace(QUICK / "build.json")
    for path in QUICK.iterdir():
        if path.is_dir() and path.name != build:
            shutil.rmtree(path)
