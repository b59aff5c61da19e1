"""The pager of every list."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.template import RequestContext, engines
from django.test import RequestFactory


def test_paging_keeps_what_narrows_the_list() -> None:
    request = RequestFactory().get("/links/?show=rejected&page=2&maker=a%26b")
    template = engines["django"].get_template("_pages.html").template
    page = template.render(RequestContext(request, {"page": Paginator(range(200), 50).get_page(2)}))
    assert 'href="?show=rejected&amp;page=1&amp;maker=a%26b"' in page
    assert 'href="?show=rejected&amp;page=3&amp;maker=a%26b"' in page


def test_a_list_of_one_page_has_no_pager() -> None:
    template = engines["django"].get_template("_pages.html").template
    request = RequestFactory().get("/links/")
    assert not template.render(RequestContext(request, {"page": Paginator(range(3), 50).get_page(1)})).strip()
