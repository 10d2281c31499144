"""The description says what is there: every route, every field that does something, and nothing else."""

from __future__ import annotations

import json

import pytest
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.openapi import PUBLIC, document, schema_of
from gateway.domain.jobs import Operation
from gateway.domain.parameters.caption_rows import CAPTION
from gateway.domain.parameters.generation_rows import GENERATION, ONLY_IMG2IMG
from gateway.domain.parameters.table import Does, Kind, Row
from gateway.domain.parameters.upscale_rows import UPSCALE

SCHEMAS = dict(zip(Operation, ("TextToImage", "ImageToImage", "Upscale", "Caption"), strict=True))


def handler(operation=None):
    async def handle(request):
        """Says hello.

        And more that is not for callers.
        """
        return Response()

    if operation is not None:
        handle.operation = operation
    return handle


@pytest.fixture(scope="module")
def described():
    routes = [Route(f"/sdapi/v1/{one}", handler(one), methods=["POST"]) for one in Operation]
    routes += [Route("/sdapi/v1/options", handler(), methods=["GET"]), Route("/livez", handler(), methods=["GET"])]
    routes.append(Route("/sdapi/v1/options", handler(), methods=["POST"]))
    return document(routes, "1.2.3")


def test_it_is_json_with_every_route_and_every_reference_leads_somewhere(described):
    text = json.dumps(described)
    assert set(described["paths"]) == {*(f"/sdapi/v1/{one}" for one in Operation), "/sdapi/v1/options", "/livez"}
    assert set(described["paths"]["/sdapi/v1/options"]) == {"get", "post"}
    references = {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}
    assert references == set(described["components"]["schemas"])
    assert described["info"]["version"] == "1.2.3"


def test_every_operation_has_an_id_of_its_own(described):
    ids = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("operation", list(Operation))
def test_a_body_has_the_fields_that_do_something_and_no_other(operation, described):
    table = {Operation.UPSCALE: UPSCALE, Operation.CAPTION: CAPTION}.get(operation, GENERATION)
    only = ONLY_IMG2IMG if operation is Operation.TXT2IMG else set()
    expected = {name for name, row in table.items() if row.does is not Does.DROP} - only
    body = described["components"]["schemas"][SCHEMAS[operation]]
    assert set(body["properties"]) == expected
    assert set(body["required"]) <= expected
    used = described["paths"][f"/sdapi/v1/{operation}"]["post"]["requestBody"]
    assert used["content"]["application/json"]["schema"]["$ref"].endswith("/" + SCHEMAS[operation])


def test_a_key_is_asked_for_in_three_ways_but_where_none_is_needed(described):
    assert described["security"] == [{"basic": []}, {"bearer": []}, {"apiKey": []}]
    assert set(described["components"]["securitySchemes"]) == {"basic", "bearer", "apiKey"}
    assert described["paths"]["/livez"]["get"]["security"] == []
    assert "security" not in described["paths"]["/sdapi/v1/options"]["get"]
    assert {"/", "/livez", "/readyz", "/docs", "/openapi.json"} == PUBLIC


def test_a_job_may_be_refused_in_more_ways_than_a_list(described):
    of_a_list = set(described["paths"]["/sdapi/v1/options"]["get"]["responses"])
    assert of_a_list == {"200", "401", "403", "429", "503"}
    of_a_job = set(described["paths"]["/sdapi/v1/txt2img"]["post"]["responses"])
    assert of_a_job == of_a_list | {"404", "408", "413", "415", "422", "500"}


def test_a_summary_is_the_first_line_for_people(described):
    assert described["paths"]["/sdapi/v1/options"]["get"]["summary"] == "Says hello."


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (Row("a", Does.PASS, Kind.INT, -1, 12), {"type": "integer", "minimum": -1, "maximum": 12}),
        (Row("a", Does.PASS, Kind.FLOAT, 0, 1.5), {"type": "number", "minimum": 0, "maximum": 1.5}),
        (Row("a", Does.PASS, Kind.INT, 1, 1_000_000_000), {"type": "integer", "minimum": 1}),
        (Row("a", Does.PASS, Kind.TEXT, high=100), {"type": "string", "maxLength": 100}),
        (Row("a", Does.PASS, Kind.BOOL), {"type": "boolean"}),
        (Row("a", Does.PASS, Kind.LIST), {"type": "array"}),
        (Row("a", Does.PASS, Kind.OBJECT), {"type": "object"}),
        (Row("a", Does.PASS, Kind.ANY), {}),
    ],
)
def test_a_field_is_described_by_its_row(row, schema):
    assert schema_of(row) == schema


def test_fixed_values_and_limits_by_the_plan_are_told():
    fixed = schema_of(Row("a", Does.PASS, Kind.TEXT, high=100, choices=("Full", "Tiny")))
    assert fixed["enum"] == ["Full", "Tiny"]
    assert "plan" in schema_of(Row("a", Does.PRICE, Kind.INT, 1, 5))["description"]
