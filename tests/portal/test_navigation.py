"""The bar at the top says where somebody is: at one place."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse


@pytest.mark.parametrize(("name", "text"), [("upload", "Upload"), ("upload-requests", "Inbox"), ("links", "Links")])
def test_one_place_is_marked_as_the_present_one(as_alice: Client, name: str, text: str) -> None:
    page = as_alice.get(reverse(name, args=["alpha"])).content.decode()
    bar = page[page.index("<nav") : page.index("</nav>")]
    marked = re.findall(r"<a[^>]*nav-link[^>]*aria-current[^>]*>(.*?)</a>", bar, re.DOTALL)
    assert [re.sub(r"<[^>]+>", "", label).strip() for label in marked] == [text]
