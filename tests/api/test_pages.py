"""The pages work in a browser that can reach nothing but the gateway."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from starlette.routing import Route

from gateway.api.pages import PageRoutes
from gateway.domain.jobs import Operation
from tests.api.support import application, asking


class Reader(HTMLParser):
    """Links of a page, and tags that were opened and never closed."""

    def __init__(self, text):
        super().__init__()
        self.links, self.opened = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]
        self.opened.append(tag)


async def seen(path):
    pages = PageRoutes()

    async def job(request):
        """Unsafe <script>."""

    job.operation = Operation.UPSCALE
    app = application({"/": pages.front, "/docs": pages.docs, "/openapi.json": pages.openapi}, methods=["GET"])
    app.router.routes.append(Route("/sdapi/v1/extra-single-image", job, methods=["POST"]))
    app.router.routes.append(Route("/<b>", lambda request: None, methods=["GET"]))
    async with asking(app) as client:
        return await client.get(path)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_needs_no_key_and_fetches_nothing(path):
    answer = await seen(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    reader = Reader(answer.text)
    assert set(reader.links) <= {"docs", "openapi.json"}
    assert not {"script", "img", "link", "iframe"} & set(reader.opened)


async def test_the_interface_lists_every_route_with_its_fields_and_statuses():
    text = (await seen("/docs")).text
    assert "POST /sdapi/v1/extra-single-image" in text
    assert re.search(r"<code>image</code></td><td></td>.*?Required", text)
    assert "<td>1 to 8</td>" in text
    assert "<td>422</td>" in text


async def test_nothing_of_a_route_is_taken_for_html():
    text = (await seen("/docs")).text
    assert "/&lt;b&gt;" in text
    assert "/<b>" not in text


async def test_the_description_is_of_the_routes_there_are():
    described = (await seen("/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    assert {"/", "/docs", "/openapi.json", "/sdapi/v1/extra-single-image"} < set(described["paths"])
