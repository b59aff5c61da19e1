"""What every answer of a running installation carries, whatever is asked and whoever asks (WEB-01, WEB-02, WEB-05,
SESS-01, SHARE-13, LOG-01, SHARE-12). Over TLS, as a browser sees it; every URL comes from the resolver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie

import pytest
from django.urls import URLPattern
from playwright.sync_api import APIRequestContext, APIResponse, BrowserContext

from tests.flows.conftest import Maker
from tests.flows.hostile import CANARY, EMAIL, SLUG, Hostile
from tests.flows.installation import Installation
from tests.flows.people import open_account, sign_in
from tests.test_every_url import EVERY_URL, SOME_ID, SOME_UID

UNSAFE = {"unsafe-inline", "unsafe-eval", "unsafe-hashes", "http:", "https:", "*"}
OUTSIDE_THE_RESOLVER = [
    "/nothing-here", "/c/", f"/c/{SLUG}/nothing-here", "/v/x/y/z", "/s/", "/s/a/b/c", "/%ff", "/..%2f..%2fetc/passwd",
    "/static/nothing.js", "/ohif/nothing.js", f"/c/{SLUG}/a.css", "/favicon.ico",
]  # fmt: skip
ASSETS = ["/robots.txt", "/static/img/logo.svg"]


def path_of(route: str, pattern: URLPattern, values: dict[str, str]) -> str:
    """A path of this route; what `values` does not know is an id of nothing."""
    if "(?P" in route:
        return "/admin/accounts/" if "app_label" in route else "/admin/nothing-here"

    def fill(match: re.Match[str]) -> str:
        kind, _, name = match[1].rpartition(":")
        return values.get(name) or ("1" if kind == "int" else SOME_UID if "uid" in name else SOME_ID)

    return "/" + re.sub(r"<([^>]+)>", fill, route)


def policy_of(response: APIResponse) -> dict[str, list[str]]:
    directives = (one.split() for one in response.headers.get("content-security-policy", "").split(";") if one.strip())
    return {name: values for name, *values in directives}


def faults_of(path: str, response: APIResponse) -> Iterator[str]:
    """Say what this answer lacks."""
    headers = response.headers
    is_viewer = response.status == 200 and ("/viewer/" in path or re.search("^/v/[^/]+/studies/", path))
    yield from faults_of_policy(policy_of(response), may_style=bool(is_viewer))
    is_of_link = path.startswith(("/s/", "/v/", "/u/", "/w/"))
    wanted = {
        "x-content-type-options": "nosniff",
        "strict-transport-security": "max-age=31536000; includeSubDomains",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "geolocation=()",
        "referrer-policy": "no-referrer" if is_of_link else "same-origin",
        "x-robots-tag": "noindex, nofollow, noarchive" if is_of_link else "",
        "cache-control": "" if path in ASSETS else "no-store",
    }
    for name, value in wanted.items():
        if value not in headers.get(name, ""):
            yield f"{name}: {headers.get(name)}"
    if "public" in headers.get("cache-control", "") and path not in ASSETS:
        yield f"Cache-Control: {headers['cache-control']}"
    for header in response.headers_array:
        if header["name"].lower() == "set-cookie":
            yield from faults_of_cookie(header["value"])


def faults_of_policy(policy: dict[str, list[str]], *, may_style: bool) -> Iterator[str]:
    """WEB-01; `may_style`: the viewer sets styles from its scripts."""
    if policy.get("default-src") != ["'none'"] or policy.get("frame-ancestors", ["'none'"]) != ["'none'"]:
        yield f"Content-Security-Policy: {policy}"
    if policy.get("script-src", ["'self'"]) != ["'self'"]:
        yield f"script-src {policy['script-src']}"
    for name, values in policy.items():
        if UNSAFE.intersection(value.strip("'") for value in values) and not (may_style and name == "style-src"):
            yield f"{name} {values}"


def faults_of_cookie(header: str) -> Iterator[str]:
    """SESS-01; a cookie that is taken back needs no HttpOnly."""
    for name, morsel in SimpleCookie(header).items():
        is_gone = not morsel.value
        if not name.startswith("__Host-") or not morsel["secure"] or morsel["path"] != "/" or morsel["domain"]:
            yield f"Set-Cookie: {name} is not bound to this host: {header.partition(';')[2]}"
        if morsel["samesite"] not in ("Lax", "Strict") or not (morsel["httponly"] or is_gone):
            yield f"Set-Cookie: {name}: {header.partition(';')[2]}"


def walk(api: APIRequestContext, paths: list[str], methods: tuple[str, ...]) -> tuple[list[str], dict[int, int]]:
    """Ask everything; return the faults, and how often each status came."""
    faults: list[str] = []
    statuses: dict[int, int] = {}
    for path in paths:
        for method in methods:
            response = api.fetch(path, method=method, max_redirects=0)
            faults += [f"{method} {path} {response.status}: {fault}" for fault in faults_of(path, response)]
            statuses[response.status] = statuses.get(response.status, 0) + 1
            response.dispose()
    return faults, statuses


@pytest.fixture
def owner(new_browser: Maker, hostile: Hostile) -> BrowserContext:
    context = new_browser()
    sign_in(context, EMAIL, hostile.seed)
    return context


def values_of(owner: BrowserContext, base_url: str) -> dict[str, str]:
    """The ids of a study, as its owner finds them."""
    worklist = owner.request.get(f"{base_url}/c/{SLUG}/").text()
    assert CANARY in worklist
    uid = "2.25.666.0"
    study = next(
        one
        for one in re.findall(rf"/c/{SLUG}/studies/([\w-]{{22}})/", worklist)
        if uid in owner.request.get(f"{base_url}/c/{SLUG}/viewer/{one}/").text()
    )
    named = {"study_instance_uid": uid, "series_instance_uid": f"{uid}.1", "sop_instance_uid": f"{uid}.1.0"}
    return {"clinic_slug": SLUG, "public_id": study, "study_id": study, "frames": "1", "path": "7FE00010"} | named


def test_every_answer_to_an_owner_is_guarded_WEB_01_WEB_02(owner: BrowserContext, installation: Installation) -> None:
    values = values_of(owner, installation.base_url)
    paths = [path_of(route, pattern, values) for route, pattern, is_admin in EVERY_URL if not is_admin]
    faults, statuses = walk(owner.request, paths, ("GET", "POST"))
    assert faults == []
    assert statuses[200] > 30
    assert statuses[403] > 10
    assert not [status for status in statuses if status >= 500]


def test_every_answer_to_nobody_is_guarded_SESS_01(new_browser: Maker, installation: Installation) -> None:
    paths = [path_of(route, pattern, {"clinic_slug": SLUG}) for route, pattern, _ in EVERY_URL]
    faults, statuses = walk(new_browser().request, paths + OUTSIDE_THE_RESOLVER + ASSETS, ("GET",))
    assert faults == []
    assert statuses[302] > 50
    assert statuses[404] > 30
    faults, _ = walk(new_browser().request, [p for p in paths if p.startswith(("/s/", "/v/"))], ("POST", "PUT"))
    assert faults == []


def test_every_answer_to_a_recipient_is_guarded_SHARE_13(
    owner: BrowserContext, new_browser: Maker, installation: Installation, hostile: Hostile
) -> None:
    values = values_of(owner, installation.base_url)
    page = owner.new_page()
    page.goto(f"/c/{SLUG}/studies/{values['public_id']}/share/")
    page.get_by_label("Nothing: whoever has the link").check()
    page.get_by_label("Allow downloading").check()
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("#share-url").input_value()
    hostile.secrets.append(url.rpartition("/s/")[2].strip("/"))
    context = new_browser()
    dana = context.new_page()
    dana.goto(url)
    dana.get_by_role("button", name="Open the images").click()
    dana.wait_for_url("**/v/**")
    values |= {"link_id": dana.url.partition("/v/")[2].partition("/")[0], "token": url.rpartition("/s/")[2].strip("/")}
    paths = [path_of(route, pattern, values) for route, pattern, _ in EVERY_URL if route.startswith(("s/", "v/"))]
    faults, statuses = walk(context.request, paths, ("GET", "POST"))
    assert faults == []
    assert statuses[200] > 15
    assert statuses[403] > 15


def test_every_answer_of_the_admin_is_guarded_SESS_01(new_browser: Maker, installation: Installation) -> None:
    context = new_browser()
    invitation = installation.manage("create_platform_admin", "pat@headers.example").strip()
    open_account(context, invitation, "Pat")
    cookies = [cookie for cookie in context.cookies() if cookie["name"] == "__Host-session"]
    assert [(cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) for cookie in cookies] == [
        ("Strict", True, True)
    ]
    paths = [path_of(route, pattern, {}) for route, pattern, is_admin in EVERY_URL if is_admin]
    faults, statuses = walk(context.request, paths, ("GET",))
    assert faults == []
    assert statuses[200] > 10
