"""What is served of the viewers' built program files, and how. Imported by the settings: no Django in here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from wsgiref.headers import Headers

OHIF: Final = Path(__file__).resolve().parents[2] / "static" / "root" / "ohif"
OHIF_URL: Final = "/ohif/"
QUICK: Final = OHIF.with_name("quick")
QUICK_URL: Final = "/quick/"

# The codecs (emscripten's embind) make functions from text. A worker obeys the policy of its own response, so that
# these scripts may do it and the page may not ('wasm-unsafe-eval' is not enough for embind).
DECODE_WORKER_POLICY: Final = "default-src 'none'; script-src 'self' 'unsafe-eval'; connect-src 'self'"
SCRIPT_POLICY: Final = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
# The upload page's worker brings along the parser of headers and asks nobody anything.
SCAN_WORKER_POLICY: Final = "default-src 'none'; script-src 'self'"
ASSET_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"

_DECODE_WORKER = re.compile(
    r"/(8097\.bundle\.[0-9a-f]+|dicom-microscopy-viewer/dataLoader\.worker\.min|decodeImageFrameWorker)\.js$"
)
_SCAN_WORKER = re.compile(r"^/static/js/upload-scan(\.[0-9a-f]{12})?\.js$")
_HASHED_STATIC = re.compile(r"^/static/.+\.[0-9a-f]{12}\.[^/]+$")
_BUILD = re.compile(rf"^({OHIF_URL}|{QUICK_URL})[0-9a-f]{{16}}/")


@dataclass(frozen=True)
class Build:
    """OHIF as it was built: its base URL, and the URLs of its one script and one style sheet."""

    base_url: str
    script_url: str
    style_url: str


def current_build(root: Path = OHIF) -> Build | None:
    """Return what `apps.viewer.build` made, None when it has not run."""
    try:
        manifest = json.loads((root / "build.json").read_text())
    except FileNotFoundError:
        return None
    base = f"{OHIF_URL}{manifest['build']}/"
    return Build(base_url=base, script_url=base + manifest["script"], style_url=base + manifest["style"])


@dataclass(frozen=True)
class QuickBuild:
    """The quick viewer as it was built: the small script that draws the first picture, and the whole program."""

    boot_url: str
    main_url: str


def current_quick_build(root: Path = QUICK) -> QuickBuild | None:
    """Return what `apps.viewer.quick_build` made, None when it has not run."""
    try:
        base = f"{QUICK_URL}{json.loads((root / 'build.json').read_text())['build']}/"
    except FileNotFoundError:
        return None
    return QuickBuild(boot_url=f"{base}boot.js", main_url=f"{base}main.js")


def add_headers(headers: Headers, path: str, url: str) -> None:
    """Give every program file its own Content-Security-Policy (WhiteNoise's add-headers function)."""
    if _SCAN_WORKER.match(url):
        headers["Content-Security-Policy"] = SCAN_WORKER_POLICY
    elif not url.startswith((OHIF_URL, QUICK_URL)) or not url.endswith(".js"):
        headers["Content-Security-Policy"] = ASSET_POLICY
    elif _DECODE_WORKER.search(url):
        headers["Content-Security-Policy"] = DECODE_WORKER_POLICY
    else:
        headers["Content-Security-Policy"] = SCRIPT_POLICY
    headers["Cross-Origin-Resource-Policy"] = "same-origin"


def is_immutable(path: str, url: str) -> bool:
    """Whether the URL names its content for ever: hashed static files, and everything below a build of a viewer."""
    return bool(_BUILD.match(url) or _HASHED_STATIC.match(url))
