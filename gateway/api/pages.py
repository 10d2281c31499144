"""What a person sees who opens the gateway in a browser: a front page, the interface, its description as JSON.

No key is needed, nothing of the pool is told, and nothing is fetched from elsewhere: a browser without a way out to the
internet shows the same.
"""

from __future__ import annotations

from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.api.errors import json_response
from gateway.api.limits import count_stranger
from gateway.api.openapi import document
from gateway.domain.parameters.table import plain_number

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,summary{font-family:ui-monospace,monospace}table{border-collapse:collapse}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}summary{cursor:pointer;padding:.2rem 0}"
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class PageRoutes:
    """Handlers of the pages. The description is made once, from the routes that exist when it is first asked for."""

    def __init__(self) -> None:
        self._document: dict[str, Any] | None = None

    async def front(self, request: Request) -> Response:
        """What this is."""
        count_stranger(request.scope)
        return _page(
            "SD.Next gateway",
            "<p>This server makes pictures for programs that speak the API of SD.Next and A1111. "
            "Enter its address in such a program, and your key as the password.</p>"
            '<p><a href="docs">The interface</a>, <a href="openapi.json">also as OpenAPI</a>.</p>',
        )

    async def docs(self, request: Request) -> Response:
        """The interface, for people."""
        count_stranger(request.scope)
        described = self._describe(request)
        entries = [
            _entry(described, path, method, operation)
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
        ]
        about = f'<p>{escape(described["info"]["description"])} <a href="openapi.json">As OpenAPI</a>.</p>'
        return _page("SD.Next gateway: the interface", about + "".join(entries))

    async def openapi(self, request: Request) -> Response:
        """The interface as OpenAPI 3.1."""
        count_stranger(request.scope)
        return json_response(msgspec.json.encode(self._describe(request)))

    def _describe(self, request: Request) -> dict[str, Any]:
        if self._document is None:
            self._document = document(request.app.router.routes, _version())
        return self._document


def _entry(described: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    statuses = "".join(
        f"<tr><td>{status}</td><td>{escape(told['description'])}</td></tr>"
        for status, told in operation["responses"].items()
    )
    key = "" if operation.get("security") == [] else "<p>Needs a key.</p>"
    return (
        f"<details><summary>{method.upper()} {escape(path)}</summary><p>{escape(operation['summary'])}</p>{key}"
        f"{_fields(described, operation)}<table>{statuses}</table></details>"
    )


def _fields(described: dict[str, Any], operation: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    reference: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = described["components"]["schemas"][reference.rpartition("/")[2]]
    rows = "".join(_field(name, field, name in schema["required"]) for name, field in schema["properties"].items())
    return f"<p>{escape(schema['description'])}</p><table><tr><th>Field<th>Type<th>Values<th></tr>{rows}</table>"


def _field(name: str, field: dict[str, Any], is_required: bool) -> str:
    values = ", ".join(field.get("enum", ())) or " to ".join(
        plain_number(field[bound]) for bound in ("minimum", "maximum") if bound in field
    )
    note = field.get("description", "") + (" Required." if is_required else "")
    cells = (f"<code>{escape(name)}</code>", field.get("type", ""), escape(values), escape(note.strip()))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _page(title: str, content: str) -> Response:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>{content}</html>",
        headers=_HEADERS,
    )


def _version() -> str:
    try:
        return version("sdnext-gateway")
    except PackageNotFoundError:  # run from a copy of the source
        return "0"
