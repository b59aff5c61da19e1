"""The viewer's program files: which policy each carries, which may be cached for ever."""

from __future__ import annotations

from pathlib import Path
from wsgiref.headers import Headers

import pytest

from apps.viewer import assets, build

BUILD = "/ohif/0123456789abcdef"


def policy(url: str) -> str:
    headers = Headers()
    assets.add_headers(headers, "", url)
    return headers["Content-Security-Policy"] or ""


def test_only_the_decode_worker_may_make_code_from_text_WEB_01() -> None:
    assert "'unsafe-eval'" in policy(f"{BUILD}/8097.bundle.8ae6404ba94890a0.js")
    for url in (
        f"{BUILD}/app.bundle.0f6159c501addfe9.js",
        f"{BUILD}/compute.bundle.0fc3a3ee85296cf2.js",
        f"{BUILD}/8097.bundle.8ae6404ba94890a0.js.map",
        "/static/js/8097.bundle.8ae6404ba94890a0.js",
        "/robots.txt",
    ):
        assert "'unsafe-eval'" not in policy(url)
        assert policy(url).startswith("default-src 'none'")
        assert "unsafe-inline" not in policy(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{BUILD}/app.bundle.css", True),
        (f"{BUILD}/dicom-microscopy-viewer/dicomMicroscopyViewer.min.js", True),
        ("/static/css/app.0123456789ab.css", True),
        ("/static/css/app.css", False),
        ("/ohif/build.json", False),
        ("/robots.txt", False),
        ("/c/alpha/ohif/0123456789abcdef/x.js", False),
    ],
)
def test_what_names_its_content_is_cached_for_ever(url: str, expected: bool) -> None:
    assert assets.is_immutable("", url) is expected


def test_without_a_build_there_is_none(tmp_path: Path) -> None:
    assert assets.current_build(tmp_path) is None


def test_a_build_says_where_it_lives(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text('{"build": "0123456789abcdef", "script": "a.js", "style": "a.css"}')
    found = assets.current_build(tmp_path)
    assert found == assets.Build(f"{BUILD}/", f"{BUILD}/a.js", f"{BUILD}/a.css")


def test_robots_are_told_to_stay_out_SHARE_13() -> None:
    assert (build.ROOT / "static" / "root" / "robots.txt").read_text() == "User-agent: *\nDisallow: /\n"
