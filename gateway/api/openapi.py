"""The description of the interface (OpenAPI 3.1), made from the routes that exist and the policy that is applied.

Request bodies come from the policy table, so that a field stands here if and only if it does something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from starlette.routing import BaseRoute, Route

from gateway.api.errors import STATUS
from gateway.domain import errors
from gateway.domain.jobs import Operation
from gateway.domain.parameters.caption_rows import CAPTION
from gateway.domain.parameters.generation_rows import GENERATION, ONLY_IMG2IMG
from gateway.domain.parameters.table import UNBOUNDED, Does, Kind, Row, Table
from gateway.domain.parameters.upscale_rows import UPSCALE

Json = dict[str, Any]

PUBLIC = frozenset({"/", "/docs", "/openapi.json", "/livez", "/readyz"})
_SDAPI = "/sdapi/v1/"
_OPERATIONS = tuple(Operation)
_REQUIRED: Mapping[Operation, tuple[str, ...]] = MappingProxyType(
    {
        Operation.TXT2IMG: ("prompt",),
        Operation.IMG2IMG: ("prompt", "init_images"),
        Operation.UPSCALE: ("image",),
        Operation.CAPTION: ("image",),
    }
)
_SUMMARIES: Mapping[Operation, str] = MappingProxyType(
    {
        Operation.TXT2IMG: "Make pictures from text",
        Operation.IMG2IMG: "Make pictures from pictures and text",
        Operation.UPSCALE: "Enlarge a picture",
        Operation.CAPTION: "Describe a picture",
    }
)
_TYPES: Mapping[Kind, Json] = MappingProxyType(
    {
        Kind.TEXT: {"type": "string"},
        Kind.INT: {"type": "integer"},
        Kind.FLOAT: {"type": "number"},
        Kind.BOOL: {"type": "boolean"},
        Kind.LIST: {"type": "array"},
        Kind.OBJECT: {"type": "object"},
        Kind.RAW: {"description": "Pictures as base64, with or without a data: prefix."},
        Kind.ANY: {},
    }
)
_NOTES: Mapping[Does, str] = MappingProxyType(
    {
        Does.CAP: "The plan may set a lower limit.",
        Does.PRICE: "Counts into the price; the plan may set a lower limit.",
        Does.RESOLVE: "A name from the lists, or text that may hold some.",
    }
)
# What any route that needs a key may be refused with, and what a generation besides.
_OF_EVERY_KEY = (errors.Unauthenticated, errors.Forbidden, errors.RateLimited, errors.CapacityError)
_OF_A_JOB = (
    errors.SamplerNotFound,
    errors.CallTooSlow,
    errors.BodyTooLarge,
    errors.BodyEncoded,
    errors.InvalidRequest,
    errors.GenerationFailed,
)


def document(routes: Iterable[BaseRoute], version: str) -> Json:
    """The whole document. Routes of the same path become one entry with a method each."""
    paths: dict[str, Json] = {}
    for route in routes:
        if isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                paths.setdefault(route.path, {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SD.Next gateway", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"bearer": []}, {"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "The key as password; any user name."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The key as token."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": {"Error": _ERROR, **{_schema_name(one): _body_of(one) for one in _OPERATIONS}, **_ANSWERS},
        },
    }


def schema_of(row: Row) -> Json:
    """The JSON schema of one field. A price that is capped by the plan alone has no upper bound here."""
    schema = dict(_TYPES[row.kind])
    if row.kind in (Kind.INT, Kind.FLOAT):
        schema["minimum"] = row.low
        if row.high != UNBOUNDED:
            schema["maximum"] = row.high
    elif row.kind is Kind.TEXT and row.high:
        schema["maxLength"] = int(row.high)
    if row.choices:
        schema["enum"] = list(row.choices)
    if note := _NOTES.get(row.does):
        schema["description"] = note
    return schema


def _body_of(operation: Operation) -> Json:
    table: Table = {Operation.UPSCALE: UPSCALE, Operation.CAPTION: CAPTION}.get(operation, GENERATION)
    left_out = ONLY_IMG2IMG if operation is Operation.TXT2IMG else frozenset()
    rows = [row for row in table.values() if row.does is not Does.DROP and row.name not in left_out]
    return {
        "type": "object",
        "required": list(_REQUIRED[operation]),
        "properties": {row.name: schema_of(row) for row in rows},
        "additionalProperties": True,
        "description": "Other fields are dropped and named in X-Gateway-Adjusted. A null counts as absent.",
    }


def _operation(route: Route, method: str) -> Json:
    name = route.path.rpartition("/")[2]
    operation = _operation_of(route)
    described = (route.endpoint.__doc__ or name).strip().partition("\n")[0]
    found: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}_{route.path.strip('/') or 'front'}"),
        "summary": described if operation is None else _SUMMARIES[operation],
        "responses": {"200": {"description": "The answer."}},
    }
    if route.path in PUBLIC:
        return found | {"security": []}
    if operation is not None:
        found["requestBody"] = {"required": True, "content": _json_of(_schema_name(operation))}
        found["responses"]["200"] = {"description": "The pictures.", "content": _json_of(_answer_name(operation))}
    refused = (*_OF_EVERY_KEY, *(_OF_A_JOB if operation is not None else ()))
    for status in sorted({STATUS[kind] for kind in refused}):
        found["responses"][str(status)] = {"description": HTTPStatus(status).phrase, "content": _json_of("Error")}
    return found


def _operation_of(route: Route) -> Operation | None:
    """Which job a route asks for: its handler says so, under whatever name it stands."""
    operation = getattr(route.endpoint, "operation", None)
    return operation if isinstance(operation, Operation) else None


def _json_of(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schema_name(operation: Operation) -> str:
    return _SCHEMAS[operation]


def _answer_name(operation: Operation) -> str:
    return {Operation.UPSCALE: "Upscaled", Operation.CAPTION: "Captioned"}.get(operation, "Pictures")


_SCHEMAS: Mapping[Operation, str] = MappingProxyType(
    {
        Operation.TXT2IMG: "TextToImage",
        Operation.IMG2IMG: "ImageToImage",
        Operation.UPSCALE: "Upscale",
        Operation.CAPTION: "Caption",
    }
)
_ABOUT = (
    "Every path under /sdapi/v1 stands under /v1 too. Any or no content type is read as JSON. "
    "The key may be sent as the password of Basic, as a Bearer token or as X-API-Key; keys that the operator allows to "
    "may stand in the path too: /k/KEY before any other path."
)
_ERROR: Json = {
    "type": "object",
    "required": ["error", "code", "detail", "body", "errors", "message"],
    "properties": {
        "error": {"type": "string", "description": "The kind of error."},
        "code": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "One sentence that says what to do."},
        "body": {"type": "string"},
        "errors": {"description": "The same sentence, or a list of the fields at fault."},
        "message": {"type": "string", "description": "The same sentence."},
    },
}
_ANSWERS: Json = {
    "Pictures": {
        "type": "object",
        "required": ["images", "parameters", "info"],
        "properties": {
            "images": {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}},
            "parameters": {"type": "object", "description": "What was asked, as it was understood."},
            "info": {"type": "string", "description": "JSON with seed, infotexts and more."},
        },
    },
    "Upscaled": {
        "type": "object",
        "required": ["image", "html_info", "info"],
        "properties": {
            "image": {"type": "string", "contentEncoding": "base64"},
            "html_info": {"type": "string"},
            "info": {"type": "string", "description": "JSON with what was done."},
        },
    },
    "Captioned": {
        "type": "object",
        "required": ["backend", "caption"],
        "properties": {
            "backend": {"type": "string"},
            "caption": {"type": "string"},
            "tags": {"type": "string"},
            "scores": {"type": "object"},
        },
    },
}
