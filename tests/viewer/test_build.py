"""The build accepts the one distribution it was made for, and says what is wrong with any other."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from apps.viewer import build

NAMES = ("app", "136", "2299", "8097", "compute", "histogram-worker", "interpolation", "polySeg")


def distribution(folder: Path) -> Path:
    for name in NAMES:
        (folder / f"{name}.bundle.js").write_text('x;__webpack_require__.p = "/";y')
    with (folder / "app.bundle.js").open("a") as app:
        app.write(";window.browserImportFunction('/dicom-microscopy-viewer/dicomMicroscopyViewer.min.js')")
    (folder / "app.bundle.css").write_text("@font-face{src:url(/a.woff2)}" * 5)
    (folder / "1.css").write_text("a{background:url(data:,)}")
    return folder


def test_the_distribution_moves_to_its_sub_path(tmp_path: Path) -> None:
    dist = distribution(tmp_path)
    build.patch(dist, "/ohif/abc/")
    app = (dist / "app.bundle.js").read_text()
    assert '__webpack_require__.p = "/ohif/abc/"' in app
    assert "browserImportFunction('/ohif/abc/dicom-microscopy-viewer/" in app
    assert (dist / "app.bundle.css").read_text().count("url(/ohif/abc/a.woff2)") == 5
    assert (dist / "1.css").read_text() == "a{background:url(data:,)}"


@pytest.mark.parametrize("missing", ["8097.bundle.js", "app.bundle.css"])
def test_another_distribution_is_refused(tmp_path: Path, missing: str) -> None:
    dist = distribution(tmp_path)
    (dist / missing).unlink()
    with pytest.raises(build.BuildError, match="unexpected OHIF distribution"):
        build.patch(dist, "/ohif/abc/")


def test_two_public_paths_in_one_file_are_refused(tmp_path: Path) -> None:
    dist = distribution(tmp_path)
    (dist / "136.bundle.js").write_text(build.PUBLIC_PATH * 2)
    with pytest.raises(build.BuildError, match="136"):
        build.patch(dist, "/ohif/abc/")


def test_a_tarball_that_is_not_the_pinned_one_is_refused_SUP_01(tmp_path: Path) -> None:
    path = tmp_path / "package.tgz"
    path.write_bytes(b"as published")
    pinned = "sha512-" + base64.b64encode(hashlib.sha512(b"as published").digest()).decode()
    build.check_integrity(path, pinned)
    path.write_bytes(b"as published, and something more")
    with pytest.raises(build.BuildError, match=r"package\.tgz"):
        build.check_integrity(path, pinned)


def test_every_package_is_pinned_with_a_hash_SUP_01() -> None:

    lock = json.loads((build.ROOT / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    named = json.loads((build.ROOT / "package.json").read_text())
    assert all(version[0].isdigit() for version in (named["dependencies"] | named["devDependencies"]).values())


def test_what_the_viewer_page_loads_is_found_in_its_own_page() -> None:
    page = '<script defer src="/app.bundle.0f61.js"></script><link href="/app.bundle.css" rel="stylesheet">'
    assert build.entry_points(page) == {"script": "app.bundle.0f61.js", "style": "app.bundle.css"}
    with pytest.raises(build.BuildError):
        build.entry_points(page * 2)
